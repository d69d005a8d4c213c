"""Truth and forecast as an animated GIF: the input frames, then one frame for each lead time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
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
    forecast = shown.forecast[:, variable]
    empty = np.full_like(truth[0], np.nan)
    stage = _Stage(shown, variable, Scale.of_field(truth, forecast), theme)
    images = []
    for step in range(len(truth))[-_MOST_FRAMES:]:
        lead = step - len(shown.context)
        if lead < 0:
            words = "input" if shown.times is None else f"input · {shown.times[step]}"
            images.append(stage.frame(words, truth[step], empty, theme.paper))
        else:
            images.append(stage.frame(shown.lead_text(lead), truth[step], forecast[lead], theme.land))
    return images


class _Stage:
    """Two maps and a colour bar, laid out once; every frame only changes what is in them."""

    def __init__(self, shown: Shown, variable: int, scale: Scale, theme: Theme) -> None:
        stacked = is_wide(shown.grid)
        ratio = shown.grid.height / shown.grid.width
        width = _FORMAT.width_inches
        if stacked:
            self.figure = new_figure(width, 2 * (max(0.9 * width * ratio, 0.5) + 0.3) + 0.9)
            axes = list(self.figure.subplots(2, 1, sharex=True, sharey=True))
        else:
            self.figure = new_figure(width, min(0.45 * width * ratio, 0.8 * width) + 1.1)
            axes = list(self.figure.subplots(1, 2, sharex=True, sharey=True))
        self.axes = axes
        empty = np.zeros(shown.grid.shape)
        self.images = []
        for number, (axis, title) in enumerate(zip(axes, ("truth", "forecast"), strict=True)):
            inches = width if stacked else width / 2
            self.images.append(show(axis, empty, shown.grid, scale, FIELD_MAP, theme, inches=inches))
            axis.set_title(title, loc="left")
            hide_ticks(axis, rows=stacked or number == 0, columns=number == 1 or not stacked)
        self.words = self.figure.suptitle("input", fontweight="bold")
        bar = self.figure.colorbar(
            self.images[0],
            ax=axes,
            location="bottom",
            extend=scale.extend,
            aspect=50,
            shrink=0.8,
            fraction=0.06,
            pad=0.04,
        )
        bar.set_label(with_unit(shown.variables[variable].name, shown.variables[variable].units))
        bar.outline.set_linewidth(0)
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def frame(
        self, words: str, truth: NDArray[np.floating], forecast: NDArray[np.floating], behind: str
    ) -> Image.Image:
        """One image; ``behind`` is the colour of the forecast's cells without a value."""
        self.words.set_text(words)
        for image, field in zip(self.images, (truth, forecast), strict=True):
            image.set_data(np.ma.masked_invalid(field))
        self.axes[1].set_facecolor(behind)
        self.figure.canvas.draw()
        pixels = np.asarray(self.figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
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
