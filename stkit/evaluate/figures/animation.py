"""Truth and forecast as an animated GIF: the input frames, then one frame for each lead time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from stkit.evaluate.figures.canvas import THEMES, WIDE, Drawn, Format, Theme, file_name, new_figure, stem_of, style
from stkit.evaluate.figures.panel import FIELD_MAP, Scale, hide_ticks, is_wide, show
from stkit.evaluate.figures.shown import Shown
from stkit.evaluate.words import with_unit
from stkit.run.files import write_bytes

_FORMAT = Format("animation", 5.2, 8.5)
_MILLISECONDS = 600
_LAST_MILLISECONDS = 1500
_MOST_FRAMES = 40
_COLOURS = 255


def draw_animation(folder: Path, shown: Shown, variable: int) -> Drawn:
    """Draw the animation of one variable of one window into ``folder``, and its last frame as a still."""
    name = shown.variables[variable].name
    stem = stem_of("animation", name, shown.number)
    for theme in THEMES:
        with style(theme, _FORMAT):
            frames = _frames(shown, variable, theme)
        write_bytes(folder / file_name(stem, theme, WIDE, "gif"), _gif(frames))
        still = io.BytesIO()
        frames[-1].save(still, format="png")
        write_bytes(folder / file_name(stem, theme, WIDE), still.getvalue())
    return Drawn(
        stem=stem,
        title=f"{name}, test window {shown.number}, animated",
        alt=f"Animation of {name}: the input frames, then truth and forecast for each lead time.",
        caption="The input frames, then truth and forecast for each lead time.",
        suffix="gif",
    )


def _frames(shown: Shown, variable: int, theme: Theme) -> list[Image.Image]:
    truth = np.concatenate([shown.context, shown.truth])[:, variable]
    first = len(shown.context)
    forecast = shown.forecast[:, variable]
    scale = Scale.of_field(truth, forecast)
    unit = with_unit(shown.variables[variable].name, shown.variables[variable].units)
    images = []
    for step in range(len(truth))[-_MOST_FRAMES:]:
        lead = step - first
        if lead < 0:
            words, right = "input", None
            if shown.times is not None:
                words = f"input · {shown.times[step]}"
        else:
            words, right = shown.lead_text(lead), forecast[lead]
        images.append(_image(_frame(shown, truth[step], right, words, unit, scale, theme)))
    return images


def _frame(
    shown: Shown,
    truth: NDArray[np.floating],
    forecast: NDArray[np.floating] | None,
    words: str,
    unit: str,
    scale: Scale,
    theme: Theme,
) -> Figure:
    stacked = is_wide(shown.grid)
    ratio = shown.grid.height / shown.grid.width
    width = _FORMAT.width_inches
    if stacked:
        figure = new_figure(width, 2 * (max(0.9 * width * ratio, 0.5) + 0.3) + 0.9)
        axes = list(figure.subplots(2, 1, sharex=True, sharey=True))
    else:
        figure = new_figure(width, min(0.45 * width * ratio, 0.8 * width) + 1.1)
        axes = list(figure.subplots(1, 2, sharex=True, sharey=True))
    empty = np.full_like(truth, np.nan)
    for number, (axis, field, title) in enumerate(
        zip(axes, (truth, empty if forecast is None else forecast), ("truth", "forecast"), strict=True)
    ):
        image = show(axis, field, shown.grid, scale, FIELD_MAP, theme, inches=width if stacked else width / 2)
        if forecast is None and number == 1:
            axis.set_facecolor(theme.paper)
        axis.set_title(title, loc="left")
        hide_ticks(axis, rows=stacked or number == 0, columns=number == 1 or not stacked)
    figure.suptitle(words, fontweight="bold")
    bar = figure.colorbar(
        image, ax=axes, location="bottom", extend=scale.extend, aspect=50, shrink=0.8, fraction=0.06, pad=0.04
    )
    bar.set_label(unit)
    bar.outline.set_linewidth(0)
    return figure


def _image(figure: Figure) -> Image.Image:
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _gif(frames: list[Image.Image]) -> bytes:
    together = Image.fromarray(np.concatenate([np.asarray(frame)[::2, ::2] for frame in frames]))
    palette = together.quantize(colors=_COLOURS, method=Image.Quantize.MEDIANCUT)
    indexed = [_indexed(frame, palette) for frame in frames]
    durations = [_MILLISECONDS] * (len(indexed) - 1) + [_LAST_MILLISECONDS]
    stream = io.BytesIO()
    indexed[0].save(
        stream, format="GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False
    )
    return stream.getvalue()


def _indexed(frame: Image.Image, palette: Image.Image) -> Image.Image:
    """The frame in the colours that all frames share, so that nothing flickers; its paper keeps its own colour."""
    pixels = np.asarray(frame)
    paper = pixels[0, 0]
    numbers = np.array(frame.quantize(palette=palette, dither=Image.Dither.NONE))
    numbers[(pixels == paper).all(axis=-1)] = _COLOURS
    image = Image.fromarray(numbers)
    colours = (palette.getpalette() or [])[: 3 * _COLOURS]
    image.putpalette([*colours, *([0] * (3 * _COLOURS - len(colours))), *(int(part) for part in paper)])
    return image
