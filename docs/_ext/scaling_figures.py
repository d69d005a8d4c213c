"""The figure of how time and memory grow, from the record of ``benchmarks/scaling.py``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scaling_text import SIZES, fit, load, series

from stkit.evaluate.figures.canvas import Format, Theme, draw, legend, new_figure

STEM = "scaling"
TIMES = {"seconds": "training step", "forecast_seconds": "forecast"}
BYTES = {
    "training_bytes": "training step",
    "training_bytes_layer": "training step, layers computed again",
    "forecast_bytes": "forecast",
}


def write(folder: Path) -> None:
    """The figure in ``folder``, light and dark, wide and narrow; nothing where nothing is recorded."""
    record = load()
    if record is not None:
        draw(folder, STEM, lambda theme, form: figure_of(record, theme, form))


def figure_of(record: Mapping[str, Any], theme: Theme, form: Format) -> Figure:
    """A column for each size, time above memory; on a phone a row for each size."""
    figure = new_figure(form.width_inches, 8.6 if form.narrow else 4.4)
    shape = (len(SIZES), 2) if form.narrow else (2, len(SIZES))
    axes = figure.subplots(*shape, squeeze=False)
    styles = {
        "training step": (theme.series[0], "o"),
        "training step, layers computed again": (theme.series[2], "s"),
        "forecast": (theme.series[1], "^"),
    }
    for place, (size, words) in enumerate(SIZES.items()):
        time, memory = axes[place] if form.narrow else axes[:, place]
        _panel(time, record, size, TIMES, 1.0, styles)
        _panel(memory, record, size, BYTES, 1e6, styles)
        memory.set_xlabel(words)
        if form.narrow:
            time.set_xlabel(words)
        if form.narrow or place == 0:
            time.set_ylabel("seconds")
            memory.set_ylabel("MB")
    legend(figure, form, 3)
    return figure


def _panel(
    axis: Axes,
    record: Mapping[str, Any],
    size: str,
    figures: Mapping[str, str],
    unit: float,
    styles: Mapping[str, tuple[str, str]],
) -> None:
    """Points, and the line through them."""
    for name, label in figures.items():
        sizes, values = series(record, size, name)
        line = fit(sizes, values)
        colour, mark = styles[label]
        ends = [sizes[0], sizes[-1]]
        axis.plot(ends, [line.at(end) / unit for end in ends], color=colour, linewidth=1)
        axis.plot(sizes, [value / unit for value in values], mark, color=colour, markersize=4, label=label)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if size == "side":
        axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
