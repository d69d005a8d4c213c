"""Maps of a diagnosis: where attention looks, and how far back RECALL does. Land is grey, as in every map of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stkit.data.source import Grid
from stkit.diagnose.attention import LookMap
from stkit.diagnose.figures.lines import KIND
from stkit.diagnose.result import Diagnosis
from stkit.diagnose.run import Field
from stkit.evaluate.figures.canvas import Drawn, Format, Theme, draw, new_figure, stem_of
from stkit.evaluate.figures.colours import Scale
from stkit.evaluate.figures.panel import hide_ticks, is_wide, show

_MARGIN_INCHES = 0.9
_THINNEST_INCHES = 0.42
_MOST_LOOKS = 6


def draw_looks(folder: Path, found: Diagnosis, field: Field) -> list[Drawn]:
    """For each attention the maps of a few queries; at most six attentions, those of the highest layers."""
    drawn: list[Drawn] = []
    for one in found.look_maps[-_MOST_LOOKS:]:
        stem = stem_of(KIND, "attention", one.layer, one.place)
        draw(folder, stem, lambda theme, form, one=one: _looks(one, field, theme, form))  # type: ignore[misc]
        drawn.append(
            Drawn(
                stem=stem,
                title=f"{found.layer(one.layer).capitalize()}: attention on {one.place}",
                alt=f"Maps of where {len(one.queries)} cells of the grid look, in window {found.windows[0] + 1}.",
                caption="The same cells, of another attention." if drawn else _told(found),
            )
        )
    return drawn


def _told(found: Diagnosis) -> str:
    return (
        f"Where each marked cell looks when the first frame of window {found.windows[0] + 1} is forecast, as a "
        "multiple of looking everywhere alike: 1 is even, 0 is ignored. A map that is flat near 1 averages over the "
        "field; spots away from the mark are what convolutions do not reach. Grey cells have no value and are never "
        "looked at."
    )


def draw_age_maps(folder: Path, found: Diagnosis, field: Field) -> Drawn | None:
    """How far back RECALL looks, a map for each layer; None without RECALL."""
    if not found.age_maps:
        return None
    stem = f"{KIND}-recall_map"
    draw(folder, stem, lambda theme, form: _ages(found, field, theme, form))
    return Drawn(
        stem=stem,
        title="RECALL: where it looks how far back",
        alt="Maps of the mean age of the memories that each cell recalls, by layer.",
        caption=(
            f"Mean age of the memories that each cell recalls when the first frame of window {found.windows[0] + 1} is "
            "forecast, in steps. The same age everywhere means that the place makes no difference. "
            "Grey cells have no value."
        ),
    )


def on_field(folded: NDArray[np.floating], field: Field) -> NDArray[np.float64]:
    """A map in patches, ``h w``, on the cells of the field, ``H W``; NaN where it has no value."""
    cells = folded.repeat(field.patch, axis=0).repeat(field.patch, axis=1)
    height, width = field.valid.shape
    return np.where(field.valid.numpy(), cells[:height, :width], np.nan)


def _looks(one: LookMap, field: Field, theme: Theme, form: Format) -> Figure:
    even = float(field.folded.sum())
    maps = [on_field(weights * even, field) for weights in one.weights]
    figure, axes, bar = _layout(len(maps), field.grid, form)
    scale = Scale.of_field(np.stack(maps))
    # Even looks are in the middle of the colours at least, so that a flat map is seen as one.
    high = max(scale.high, 2.0)
    scale = Scale(0.0, high, "max" if max(np.nanmax(shown) for shown in maps) > high else "neither")
    for number, (axis, shown, query) in enumerate(zip(axes, maps, one.queries, strict=True)):
        image = show(axis, shown, field.grid, scale, theme, inches=_inches(len(maps), field.grid, form))
        x, y = (_at(field.grid, place, field.patch, down=down) for place, down in ((query[1], False), (query[0], True)))
        axis.plot(
            x, y, marker="o", markersize=7, markerfacecolor="none", markeredgecolor="#ffffff", markeredgewidth=2.6
        )
        axis.plot(
            x, y, marker="o", markersize=7, markerfacecolor="none", markeredgecolor="#d55e00", markeredgewidth=1.4
        )
        axis.set_title(f"cell {number + 1} looks", loc="left")
        _ticks(axis, number, len(maps), field.grid, form)
    colours = figure.colorbar(image, cax=bar, orientation="horizontal", extend=scale.extend)
    colours.set_label("weight, 1 = everywhere alike")
    bar.tick_params(length=2.5, pad=2)
    bar.xaxis.set_major_locator(MaxNLocator(4 if form.narrow else 6))
    return figure


def _ages(found: Diagnosis, field: Field, theme: Theme, form: Format) -> Figure:
    maps = [on_field(one.age, field) for one in found.age_maps]
    figure, axes, bar = _layout(len(maps), field.grid, form)
    # From the newest to the oldest memory there is, so that small differences look small.
    scale = Scale(1.0, float(max(2, *(one.memories for one in found.age_maps))), "neither")
    for number, (axis, shown, one) in enumerate(zip(axes, maps, found.age_maps, strict=True)):
        image = show(axis, shown, field.grid, scale, theme, inches=_inches(len(maps), field.grid, form))
        axis.set_title(found.layer(one.layer), loc="left")
        _ticks(axis, number, len(maps), field.grid, form)
    colours = figure.colorbar(image, cax=bar, orientation="horizontal", extend=scale.extend)
    colours.set_label("mean age [steps]")
    bar.tick_params(length=2.5, pad=2)
    bar.xaxis.set_major_locator(MaxNLocator(4 if form.narrow else 6))
    return figure


def _columns(count: int, grid: Grid, form: Format) -> int:
    if is_wide(grid):
        return 1
    return min(count, 2 if form.narrow else 4)


def _inches(count: int, grid: Grid, form: Format) -> float:
    return (form.width_inches - _MARGIN_INCHES) / _columns(count, grid, form)


def _layout(count: int, grid: Grid, form: Format) -> tuple[Figure, list[Axes], Axes]:
    """Maps in rows, and a colour bar under them."""
    columns = _columns(count, grid, form)
    rows = -(-count // columns)
    wide = _inches(count, grid, form)
    tall = min(max(wide * grid.height / grid.width, _THINNEST_INCHES), 1.6 * wide)
    figure = new_figure(form.width_inches, rows * (tall + 0.32) + 0.75)
    cells = figure.add_gridspec(rows + 1, columns, height_ratios=[*[tall] * rows, 0.1])
    axes: list[Axes] = []
    for number in range(count):
        first = axes[0] if axes else None
        row, column = divmod(number, columns)
        axes.append(figure.add_subplot(cells[row, column], sharex=first, sharey=first))
    return figure, axes, figure.add_subplot(cells[-1, :])


def _ticks(axis: Axes, number: int, count: int, grid: Grid, form: Format) -> None:
    columns = _columns(count, grid, form)
    hide_ticks(axis, rows=number % columns == 0, columns=number + columns >= count)


def _at(grid: Grid, place: int, patch: int, *, down: bool) -> float:
    """Coordinate of the middle of a patch."""
    values: Sequence[float] | NDArray[np.float64] | None = grid.y.values if down else grid.x.values
    count = grid.height if down else grid.width
    low, high = place * patch, min((place + 1) * patch, count) - 1
    if values is None or count < 2:
        return (low + high) / 2
    step = (float(values[-1]) - float(values[0])) / (count - 1)
    return float(values[0]) + step * (low + high) / 2
