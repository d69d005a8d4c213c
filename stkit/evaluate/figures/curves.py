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
from stkit.evaluate.scores import CurveScores, ScoreInfo, Scores
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import steps_text

_MOST_LEADS = 3
_PANEL_INCHES = 2.5
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
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
    draw(folder, stem, lambda theme, form: _figure(scores, curve, info, found.units, leads, theme, form))
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


def _figure(
    scores: Scores, curve: CurveScores, info: ScoreInfo, units: str, leads: Sequence[int], theme: Theme, form: Format
) -> Figure:
    across, down = (1, len(leads)) if form.narrow else (len(leads), 1)
    names = list(dict.fromkeys(name for lines in curve.lines.values() for name in lines))
    figure = new_figure(form.width_inches, down * _PANEL_INCHES + 0.3 + 0.2 * _legend_rows(curve, form))
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    x = np.array(curve.x, dtype=np.float64)
    every = np.array(
        [v for lines in curve.lines.values() for line in lines.values() for row in line for v in row], float
    )
    for axis, lead in zip(axes, leads, strict=True):
        for forecast, lines in curve.lines.items():
            for name, line in lines.items():
                label = spoken(forecast) if len(names) == 1 else f"{spoken(forecast)}, {name}"
                _line(axis, scores, forecast, names.index(name), x, line[lead], theme, label)
        if info.better == "one":
            axis.axhline(1, color=theme.muted, linewidth=1, zorder=1)
        axis.set_xscale("log" if _wide(x) else "linear")
        axis.set_yscale("log" if _wide(every) else "linear")
        if not _wide(x):
            axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_title(steps_text(scores.lead_steps[lead], scores.lead_unit), loc="left", fontweight="bold")
        axis.set_xlabel(curve.x_label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y")
        axis.set_axisbelow(True)
        for one in (axis.xaxis, axis.yaxis):
            if one.get_scale() == "log":
                plain_numbers(one)
    legend(figure, form, 1 if form.narrow else 3)
    return figure


def _legend_rows(curve: CurveScores, form: Format) -> int:
    lines = sum(len(lines) for lines in curve.lines.values())
    return lines if form.narrow else -(-lines // 3)


def _line(
    axis: Axes,
    scores: Scores,
    forecast: str,
    place: int,
    x: np.ndarray,
    row: Sequence[float | None],
    theme: Theme,
    label: str,
) -> None:
    number = list(scores.forecasts).index(forecast)
    axis.plot(
        x,
        [np.nan if value is None else value for value in row],
        color=theme.series[number % len(theme.series)],
        marker=_MARKERS[number % len(_MARKERS)] if len(x) <= _FEW_POINTS else None,
        linestyle=_DASHES[(number + place) % len(_DASHES)],
        linewidth=2.0 if forecast == "model" else 1.3,
        markersize=3.5,
        zorder=3 if forecast == "model" else 2,
        label=label,
    )


def _wide(values: np.ndarray) -> bool:
    """Whether all are above zero and span so much that a logarithm shows them better."""
    known = values[np.isfinite(values)]
    return bool(known.size and known.min() > 0 and known.max() > _LOGARITHMIC_SPAN * known.min())
