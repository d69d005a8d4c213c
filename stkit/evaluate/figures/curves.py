"""What a score knows besides its number, as lines: spectra, reliability, ranks; a panel for each lead time shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stkit.evaluate.figures.canvas import (
    Drawn,
    Format,
    Theme,
    draw,
    legend,
    new_figure,
    plain_numbers,
    stem_of,
)
from stkit.evaluate.figures.maps import shown_leads
from stkit.evaluate.scores import CurveScores, Scores
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import steps_text

_MOST_LEADS = 3
_PANEL_INCHES = 2.5
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_TRUTH = " of the truth"
_LOGARITHMIC_SPAN = 20.0
"""Values above zero that span more than this factor are drawn against a logarithm."""
_FEW_POINTS = 25
"""With more, marks would hide the lines."""


def draw_curves(folder: Path, scores: Scores, variable: str, metric: str) -> Drawn | None:
    """Draw the lines of one score of one variable into ``folder``; None where none has two points."""
    found = scores.variables[variable]
    curve, info = found.curves[metric], scores.metrics[metric]
    leads = [lead for lead in shown_leads(len(scores.lead_steps), _MOST_LEADS) if _points(curve, lead)]
    if not leads:
        return None
    stem = stem_of("curves", variable, metric)
    draw(folder, stem, lambda theme, form: _figure(scores, curve, leads, theme, form))
    words = [steps_text(scores.lead_steps[lead], scores.lead_unit) for lead in leads]
    return Drawn(
        stem=stem,
        title=f"{info.name(found.units)}, {variable}",
        alt=(
            f"Line charts of {info.name(found.units)} of {variable} against {curve.x_label} at {', '.join(words)} "
            f"for {', '.join(map(spoken, curve.lines))}."
        ),
        caption=f"{info.convention[:1].upper()}{info.convention[1:]}.",
    )


def _points(curve: CurveScores, lead: int) -> int:
    """Points of the longest line at a lead time, 0 where none has two."""
    longest = max(
        (sum(value is not None for value in line[lead]) for lines in curve.lines.values() for line in lines.values()),
        default=0,
    )
    return longest if longest > 1 else 0


def _figure(scores: Scores, curve: CurveScores, leads: Sequence[int], theme: Theme, form: Format) -> Figure:
    names = _names(curve)
    panels = [(name, lead) for name in names for lead in leads]
    down, across = (len(panels), 1) if form.narrow else (len(names), len(leads))
    figure = new_figure(form.width_inches, down * _PANEL_INCHES + 0.5)
    axes = figure.subplots(down, across, squeeze=False, sharey="row").ravel()
    x = np.array(curve.x, dtype=np.float64)
    for axis, (name, lead) in zip(axes, panels, strict=True):
        drawn = [(forecast, lines[name][lead]) for forecast, lines in curve.lines.items() if name in lines]
        for forecast, row in drawn:
            _line(axis, list(scores.forecasts).index(forecast), x, row, theme, spoken(forecast))
        truth = next((lines[name + _TRUTH][lead] for lines in curve.lines.values() if name + _TRUTH in lines), None)
        if truth is not None:
            axis.plot(x, _known(truth), color=theme.ink, linewidth=1.6, label="truth", zorder=4)
        _reference(axis, name, x, theme)
        values = np.concatenate([_known(row) for _, row in drawn])
        if _wide(x):
            axis.set_xscale("log")
            plain_numbers(axis.xaxis)
        if _wide(values):
            axis.set_yscale("log")
            plain_numbers(axis.yaxis)
        if not _wide(x):
            axis.xaxis.set_major_locator(MaxNLocator(5))
        words = steps_text(scores.lead_steps[lead], scores.lead_unit)
        axis.set_title(f"{name}, {words}", loc="left", fontweight="bold")
        axis.set_xlabel(curve.x_label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y")
        axis.set_axisbelow(True)
    legend(figure, form, 2 if form.narrow else 5)
    return figure


def _names(curve: CurveScores) -> list[str]:
    """What the lines are called; that of the truth is drawn beside its forecasts'."""
    found = dict.fromkeys(name for lines in curve.lines.values() for name in lines)
    return [
        name
        for name in found
        if name != curve.x_label and not (name.endswith(_TRUTH) and name.removesuffix(_TRUTH) in found)
    ]


def _reference(axis: Axes, name: str, x: np.ndarray, theme: Theme) -> None:
    """What a perfect forecast would have: the power of the truth, as many events as it said, every rank as often."""
    perfect = {"power ratio": np.ones(len(x)), "observed frequency": x, "share": np.full(len(x), 1 / len(x))}.get(name)
    if perfect is not None:
        axis.plot(x, perfect, color=theme.muted, linewidth=1, zorder=1)


def _known(row: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in row], dtype=np.float64)


def _line(axis: Axes, number: int, x: np.ndarray, row: Sequence[float | None], theme: Theme, label: str) -> None:
    axis.plot(
        x,
        _known(row),
        color=theme.series[number % len(theme.series)],
        marker=_MARKERS[number % len(_MARKERS)] if len(x) <= _FEW_POINTS else None,
        linestyle=_DASHES[number % len(_DASHES)],
        linewidth=1.3 if number else 2.0,
        markersize=3.5,
        zorder=2 if number else 3,
        label=label,
    )


def _wide(values: np.ndarray) -> bool:
    """Whether all are above zero and span so much that a logarithm shows them better."""
    known = values[np.isfinite(values)]
    return bool(known.size and known.min() > 0 and known.max() > _LOGARITHMIC_SPAN * known.min())
