"""Truth and forecast, frame by frame: what the report's player shows.

A frame is an image with a pixel for each cell and no colour where there is no value, so that it lies on light and on
dark paper, and is small; ``animation-NAME-NUMBER.json`` holds all frames, and the page adds the rest.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from stkit.data.source import Grid
from stkit.evaluate.figures.canvas import Drawn, stem_of
from stkit.evaluate.figures.coast import Line
from stkit.evaluate.figures.colours import Scale
from stkit.evaluate.figures.panel import column_edges, is_wide, row_edges
from stkit.evaluate.figures.shown import Shown
from stkit.evaluate.words import with_unit
from stkit.run.files import write_json

SUFFIX = "json"
_MOST_FRAMES = 40
_MOST_PIXELS = 512
"""Along the longer side: what is larger is thinned."""
_SHADES = 250
_NO_VALUE = 255


def draw_animation(folder: Path, shown: Shown, variable: int) -> Drawn:
    """Write the frames of one variable of one window into ``folder``."""
    name, unit = shown.variables[variable].name, shown.variables[variable].units
    stem = stem_of("animation", name, shown.number)
    truth = np.concatenate([shown.context, shown.truth])[:, variable]
    forecast = shown.forecast[:, variable]
    scale = Scale.of_variable(shown.variables[variable], truth, forecast)
    known = len(shown.context)
    first = max(0, len(truth) - _MOST_FRAMES)
    thin = -(-max(shown.grid.shape) // _MOST_PIXELS)
    frames = [
        {
            "label": _label(shown, step),
            "truth": _image(truth[step, ::thin, ::thin], shown.grid, scale),
            "forecast": _image(forecast[step - known, ::thin, ::thin], shown.grid, scale) if step >= known else None,
        }
        for step in range(first, len(truth))
    ]
    content = {
        "variable": with_unit(name, unit),
        "stacked": is_wide(shown.grid),
        "width": shown.grid.width,
        "height": shown.grid.height,
        "start": max(0, known - first),
        "frames": frames,
        "coast": _path(shown.coast(variable), shown.grid),
        "bar": _bar(scale),
    }
    write_json(folder / f"{stem}.{SUFFIX}", content)
    thinned = f" One cell in {thin} of each row and column is shown." if thin > 1 else ""
    return Drawn(
        stem=stem,
        title=f"{name}, test window {shown.number}, frame by frame",
        alt=f"Maps of {with_unit(name, unit)}: the input frames, then truth and forecast for each lead time.",
        caption=f"The input frames, then truth and forecast for each lead time; grey cells have no value.{thinned}",
        suffix=SUFFIX,
    )


def _label(shown: Shown, step: int) -> str:
    lead = step - len(shown.context)
    if lead >= 0:
        return shown.lead_text(lead)
    return "input" if shown.times is None else f"input · {shown.times[step]}"


def _upright(field: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """With the row on top that is on top of a map: coordinates grow upwards, rows without one are counted down."""
    rows = row_edges(grid)
    upwards = grid.y.values is not None and rows[0] < rows[1]
    columns = column_edges(grid)
    return field[:: -1 if upwards else 1, :: -1 if columns[0] > columns[1] else 1]


def _image(field: NDArray[np.floating], grid: Grid, scale: Scale) -> str:
    numbers, palette = _indexed(_upright(field, grid), scale)
    image = Image.fromarray(numbers)
    image.putpalette(palette)
    return _inline(image, transparency=_NO_VALUE)


def _indexed(field: NDArray[np.floating], scale: Scale) -> tuple[NDArray[np.uint8], list[int]]:
    """The number of each cell's colour, and the colours."""
    known = np.isfinite(field)
    values = np.where(known, field, scale.low)
    if scale.levels:
        numbers = np.digitize(values, scale.levels)
        middles = (*scale.levels, np.inf)
        colours = scale.colormap(scale.norm(np.array([-np.inf, *middles[:-1]])), bytes=True)
    else:
        numbers = ((values - scale.low) / (scale.high - scale.low) * _SHADES).clip(0, _SHADES - 1).astype(np.int64)
        colours = scale.colormap(np.linspace(0, 1, _SHADES), bytes=True)
    palette = np.zeros((_NO_VALUE + 1, 3), dtype=np.uint8)
    palette[: len(colours)] = colours[:, :3]
    return np.where(known, numbers, _NO_VALUE).astype(np.uint8), [int(part) for part in palette.ravel()]


def _bar(scale: Scale) -> dict[str, Any]:
    """The colour bar: an image from low to high, and its numbers with their place from 0 to 1."""
    if scale.levels:
        numbers = np.arange(len(scale.levels) + 1, dtype=np.uint8)[None]
        _, palette = _indexed(np.zeros((1, 1)), scale)
        ticks = [(place / numbers.size, f"{level:g}") for place, level in enumerate(scale.levels, start=1)]
    else:
        numbers = np.arange(_SHADES, dtype=np.uint8)[None]
        _, palette = _indexed(np.zeros((1, 1)), scale)
        found = MaxNLocator(5).tick_values(scale.low, scale.high)
        span = scale.high - scale.low
        ticks = [((v - scale.low) / span, f"{v:g}") for v in found if scale.low <= v <= scale.high]
    image = Image.fromarray(numbers)
    image.putpalette(palette)
    return {"image": _inline(image), "ticks": [[round(float(place), 4), words] for place, words in ticks]}


def _path(coast: Sequence[Line], grid: Grid) -> str:
    """The coast as the path of an SVG whose unit is a cell, from the upper left corner."""
    rows, columns = row_edges(grid), column_edges(grid)
    top, bottom = sorted(rows, reverse=grid.y.values is not None)
    left, right = sorted(columns)
    pieces = []
    for line in coast:
        x = (line[:, 0] - left) / (right - left) * grid.width
        y = (top - line[:, 1]) / (top - bottom) * grid.height
        points = np.stack([x, y], axis=1).round(2)
        kept = np.concatenate([[True], np.abs(np.diff(points, axis=0)).max(axis=1) > 0])
        pieces.append("M" + "L".join(f"{px:g} {py:g}" for px, py in points[kept]))
    return "".join(pieces)


def _inline(image: Image.Image, **options: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, format="png", optimize=True, **options)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
