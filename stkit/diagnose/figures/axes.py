"""What the line charts of a diagnosis share: an axis of steps with the input marked, and lines by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stkit.evaluate.figures.canvas import Format, Theme, new_figure
from stkit.evaluate.words import lead_axis

MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
PANEL_INCHES = 2.3


def panels(count: int, form: Format, *, across: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure with that many panels: below each other where it is narrow."""
    columns = 1 if form.narrow else min(across, count)
    rows = -(-count // columns)
    figure = new_figure(form.width_inches, rows * PANEL_INCHES + 0.6)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, axes[:count]


def line(axis: Axes, x: Sequence[float], y: Sequence[float], number: int, theme: Theme, label: str) -> None:
    """A line that is told apart by colour, mark and dash."""
    axis.plot(
        x,
        y,
        color=theme.series[number % len(theme.series)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=DASHES[number % len(DASHES)],
        linewidth=1.6,
        markersize=4,
        zorder=3,
        label=label,
    )


def lead_ticks(axis: Axes, leads: Sequence[int], unit: str, theme: Theme) -> None:
    """Steps by the lead time of what they forecast; those inside the input on a tint."""
    axis.set_xlabel(lead_axis(unit))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    axis.set_xlim(leads[0] - 0.4, leads[-1] + 0.4)
    if leads[0] < 1:
        axis.axvspan(leads[0] - 0.4, 0.5, color=theme.rule, alpha=0.45, linewidth=0, zorder=0)
        axis.text(
            leads[0] - 0.25,
            0.97,
            "input",
            color=theme.muted,
            va="top",
            fontsize="small",
            transform=axis.get_xaxis_transform(),  # across in data, up in shares of the axis
            zorder=1,
        )


def as_percent(share: float, _: object = None) -> str:
    """``2.5%`` for 0.025: the label of a tick."""
    return f"{100 * share:g}%"


def tidy(axis: Axes) -> None:
    """Only what helps to read values."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y")
    axis.set_axisbelow(True)


def legend(figure: Figure, axes: Sequence[Axes], form: Format) -> None:
    """One legend for all panels, each label once; layers from the bottom up."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if all(label.startswith("layer") for label in found):
        found = dict(sorted(found.items()))
    figure.legend(list(found.values()), list(found), loc="outside upper left", ncols=2 if form.narrow else 4)
