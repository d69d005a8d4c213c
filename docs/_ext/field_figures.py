"""The figure of the ablations on fields with a known answer: every seed's error over the best possible one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from field_ablations import Row, load, names, rows
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from stkit.evaluate.figures.canvas import Format, Theme, draw, new_figure

STEM = "field-ablations"
_COLUMNS = 2
_ROW_INCHES, _HEAD_INCHES = 0.22, 0.6
_TICKS = (1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50)


def write(folder: Path) -> None:
    """The figure in ``folder``, light and dark, wide and narrow; nothing where nothing is recorded."""
    fields = {name: rows(load(name)) for name in names()}
    if fields:
        draw(folder, STEM, lambda theme, form: figure_of(fields, theme, form))


def figure_of(fields: dict[str, list[Row]], theme: Theme, form: Format) -> Figure:
    """A panel for each field, a line for each cell of the grid and each baseline."""
    columns = 1 if form.narrow else _COLUMNS
    lines = [list(fields)[at : at + columns] for at in range(0, len(fields), columns)]
    heights = [max(len(fields[name]) for name in line) * _ROW_INCHES + _HEAD_INCHES for line in lines]
    figure = new_figure(form.width_inches, sum(heights) + 0.5)
    axes = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for place, axis in enumerate(axes.ravel()):
        if place < len(fields):
            name = list(fields)[place]
            _panel(axis, name, fields[name], theme)
        else:
            axis.set_visible(False)
    figure.supxlabel("RMSE over that of the best possible forecast", fontsize="medium")
    marks = [
        Line2D([], [], marker="o", linestyle="", color=colour, markerfacecolor=face, label=text)
        for text, (colour, face) in _marks(theme).items()
    ]
    baseline = Line2D([], [], marker="D", linestyle="", color=theme.muted, markersize=4, label="baseline")
    figure.legend(handles=[*marks, baseline], loc="outside upper left", ncols=1 if form.narrow else 4)
    return figure


def _panel(axis: Axes, name: str, found: Sequence[Row], theme: Theme) -> None:
    marks = _marks(theme)
    words = {"better": "better than plain", "worse": "worse than plain"}
    for place, row in enumerate(found):
        at = [len(found) - place] * len(row.ratios)
        if row.against_bar is None:
            axis.plot(row.ratios, at, "D", color=theme.muted, markersize=4)
            continue
        colour, face = marks[words.get(row.against_plain or "", "plain, or not told apart")]
        axis.plot(row.ratios, at, "o", color=colour, markerfacecolor=face, markersize=5)
    axis.axvline(1, color=theme.ink, linewidth=1)
    axis.set_xscale("log")
    largest = max(max(row.ratios) for row in found)
    least = min(0.97, *(min(row.ratios) for row in found))
    ticks = [tick for tick in _TICKS if tick <= largest * 1.05]
    axis.set_xlim(least * 0.98, largest * 1.1)
    axis.set_xticks(_spread(ticks, largest))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_yticks(range(len(found), 0, -1), [row.label for row in found])
    axis.set_ylim(0.4, len(found) + 0.6)
    axis.set_title(name, loc="left", fontweight="bold")
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", which="minor", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _spread(ticks: Sequence[float], largest: float) -> list[float]:
    """Without the close ones where the axis is long."""
    return [tick for tick in ticks if largest < 3 or tick not in (1.1, 1.2, 1.5)]


def _marks(theme: Theme) -> dict[str, tuple[str, str]]:
    """Edge and face of a mark, by what it says."""
    return {
        "plain, or not told apart": (theme.ink, theme.paper),
        "better than plain": (theme.series[0], theme.series[0]),
        "worse than plain": (theme.series[1], theme.series[1]),
    }
