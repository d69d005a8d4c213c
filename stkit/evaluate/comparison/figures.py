"""The figures of a comparison: every seed's score by lead time, and the differences with their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from stkit.evaluate.comparison.study import Compared, Study
from stkit.evaluate.comparison.tables import score_words, shown_score, shown_values
from stkit.evaluate.figures.canvas import Drawn, Format, Theme, draw, legend, new_figure, stem_of
from stkit.evaluate.figures.lines import lead_ticks
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import lead_axis

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_BASELINE_DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_ROW_INCHES = 0.27
_HEAD_ROWS = 1.0
_GAP_ROWS = 0.5
_NAME_ABOVE = 0.8
"""Rows between two rows whose names stand above them."""
_PANEL_INCHES = 2.5


def draw_leads(folder: Path, study: Study, variable: str) -> Drawn:
    """Draw every seed's score against lead time, and the mean of the seeds, into ``folder``."""
    stem = stem_of("leads", variable)
    draw(folder, stem, lambda theme, form: _leads_figure(study, variable, theme, form))
    label = shown_score(study, variable)
    return Drawn(
        stem=stem,
        title=f"{label} by lead time, {variable}",
        alt=f"Line chart of the {label} against lead time of {', '.join(spoken(m.name) for m in study.members)}.",
        caption="Thin lines: each seed; thick lines with marks: the mean over the seeds; grey: the baselines.",
    )


def draw_forest(folder: Path, study: Study, variable: str) -> Drawn | None:
    """Draw the differences of one variable with their intervals into ``folder``; None where there are no intervals."""
    compared = [one for one in study.of_variable(variable) if one.paired.overall.relative_interval() is not None]
    if not compared:
        return None
    stem = stem_of("forest", variable)
    side = "right" if compared[0].higher else "left"
    draw(folder, stem, lambda theme, form: _forest_figure(compared, side, theme, form))
    return Drawn(
        stem=stem,
        title=f"Differences with their 95 % intervals, {variable}",
        alt=(
            f"Forest plot of the difference in {score_words(study)} of "
            + "; ".join(f"{one.first} against {one.against}: {one.word}" for one in compared)
            + "."
        ),
        caption=(
            f"Difference of the {score_words(study)} over all lead times, as a share of that of what is compared with: "
            f"{side} of zero is better. Filled: called better or worse after Holm's correction; hollow: not "
            "distinguishable."
        ),
    )


def _leads_figure(study: Study, variable: str, theme: Theme, form: Format) -> Figure:
    """The scores beside the baselines, and those of the seeds alone as shares of the first recipe's."""
    several = len(study.trained) > 1 or len(study.trained[0].seeds) > 1
    panels = 2 if several else 1
    figure = new_figure(form.width_inches, (panels if form.narrow else 1) * _PANEL_INCHES + 0.8)
    axes = figure.subplots(panels if form.narrow else 1, 1 if form.narrow else panels, squeeze=False).ravel()
    leads = np.arange(1, study.layout.horizon + 1)
    first = np.array(shown_values(study, study.trained[0], variable), dtype=np.float64).mean(axis=0)
    for number, member in enumerate(study.trained):
        rows = np.array(shown_values(study, member, variable), dtype=np.float64)
        _seed_lines(axes[0], leads, rows, theme, number, member.name)
        if several:
            _seed_lines(axes[1], leads, 100 * (rows / first - 1), theme, number, "")
    for number, member in enumerate(study.baselines):
        (row,) = shown_values(study, member, variable)
        dashes = _BASELINE_DASHES[number % len(_BASELINE_DASHES)]
        axes[0].plot(
            leads, row, color=theme.muted, linestyle=dashes, linewidth=1.4, label=spoken(member.name), zorder=1
        )
    axes[0].set_title(shown_score(study, variable), loc="left", fontweight="bold")
    if study.info is None:
        axes[0].set_ylim(bottom=0)
    if several:
        axes[1].set_title("against the first recipe's mean [%]", loc="left", fontweight="bold")
        axes[1].axhline(0, color=theme.muted, linewidth=1, zorder=1)
    for axis in axes:
        axis.set_xlabel(lead_axis(study.layout.lead_unit))
        axis.xaxis.set_major_locator(FixedLocator(lead_ticks([int(lead) for lead in leads])))
        margin = 0.25 if len(leads) < 5 else 0.5
        axis.set_xlim(leads[0] - margin, leads[-1] + margin)
        _tidy(axis, "y")
    columns = (1 if len(study.members) <= 8 else 2) if form.narrow else 3
    legend(figure, form, columns)
    return figure


def _seed_lines(axis: Axes, leads: np.ndarray, rows: np.ndarray, theme: Theme, number: int, name: str) -> None:
    """A thin line for each seed, and a thick one for their mean."""
    colour = theme.series[number % len(theme.series)]
    if len(rows) > 1:
        for row in rows:
            axis.plot(leads, row, color=colour, linewidth=0.8, alpha=0.6, zorder=2)
    marker = _MARKERS[number % len(_MARKERS)]
    mean = rows.mean(axis=0)
    axis.plot(leads, mean, color=colour, linewidth=2, marker=marker, markersize=4.5, label=name or None, zorder=3)


def _forest_figure(compared: list[Compared], side: str, theme: Theme, form: Format) -> Figure:
    """Rows of one comparison each, under the name of what is compared with; names stand above rows that are narrow."""
    blocks: dict[str, list[Compared]] = {}
    for one in compared:
        blocks.setdefault(one.against, []).append(one)
    heads, rows, place = [], [], 0.0
    above = _NAME_ABOVE if form.narrow else 0.0
    for second, found in blocks.items():
        heads.append((place, second))
        place += _HEAD_ROWS
        for one in found:
            rows.append((place + above, one))
            place += 1 + above
        place += _GAP_ROWS
    figure = new_figure(form.width_inches, place * _ROW_INCHES + 0.85)
    axis = figure.subplots()
    for place_of_head, second in heads:
        _write_left(axis, place_of_head, f"against {second}", theme, bold=True)
    for place_of_row, one in rows:
        _interval(axis, one, place_of_row, theme)
        if form.narrow:
            _write_left(axis, place_of_row - 0.7, one.first, theme)
    axis.axvline(0, color=theme.muted, linewidth=1, zorder=1)
    axis.set_ylim(place - _GAP_ROWS - 0.3, -0.8)
    axis.set_yticks([place for place, _ in rows], [] if form.narrow else [one.first for _, one in rows])
    axis.tick_params(axis="y", length=0)
    what = "difference" if form.narrow or side == "right" else "difference of the error"
    axis.set_xlabel(f"{what} [%], better to the {side}")
    axis.xaxis.set_major_locator(MaxNLocator(5 if form.narrow else 9))
    axis.set_xlim(*_limits(compared))
    _tidy(axis, "x")
    axis.spines["left"].set_visible(False)
    figure.legend(handles=_words_legend(theme), loc="outside upper left", ncols=1 if form.narrow else 3)
    return figure


def _write_left(axis: Axes, place: float, words: str, theme: Theme, *, bold: bool = False) -> None:
    """Words at the left edge of a row, on paper so that the lines of the grid do not cross them."""
    axis.annotate(
        words,
        (0, place),
        xycoords=("axes fraction", "data"),
        xytext=(2, 0),
        textcoords="offset points",
        va="center",
        fontweight="bold" if bold else "normal",
        bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 1.0},
        zorder=4,
    )


def _interval(axis: Axes, one: Compared, place: float, theme: Theme) -> None:
    interval, middle = one.paired.overall.relative_interval(), one.paired.overall.relative
    assert interval is not None
    assert middle is not None
    colour = _colour(one.word, theme)
    axis.plot(
        [100 * end for end in interval], [place, place], color=colour, linewidth=2, solid_capstyle="butt", zorder=2
    )
    axis.plot(
        [100 * middle],
        [place],
        marker="o",
        markersize=6,
        color=colour,
        markerfacecolor=theme.paper if one.word == "not distinguishable" else colour,
        markeredgewidth=1.6,
        zorder=3,
    )


def _colour(word: str, theme: Theme) -> str:
    return {"better": theme.series[0], "worse": theme.series[1]}.get(word, theme.muted)


def _words_legend(theme: Theme) -> list[Line2D]:
    return [
        Line2D(
            [],
            [],
            color=_colour(word, theme),
            linewidth=2,
            marker="o",
            markersize=6,
            markeredgewidth=1.6,
            markerfacecolor=theme.paper if word == "not distinguishable" else _colour(word, theme),
            label=word,
        )
        for word in ("better", "worse", "not distinguishable")
    ]


def _limits(compared: list[Compared]) -> tuple[float, float]:
    """Room for every interval, but for what is very far to one side."""
    ends = [100 * end for one in compared for end in one.paired.overall.relative_interval() or ()]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.05 * max(high - low, 1e-3)
    return low - margin, high + margin


def _tidy(axis: Axes, lines: str) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x" if lines == "x" else "y")
    axis.set_axisbelow(True)
