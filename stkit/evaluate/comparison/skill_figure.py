"""The skill of each recipe by lead time, with its intervals, against the baseline that is hardest to beat."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from stkit.evaluate.comparison.difference import Estimate
from stkit.evaluate.comparison.study import Compared, Study
from stkit.evaluate.figures.canvas import Drawn, Format, Theme, draw, legend, new_figure, stem_of
from stkit.evaluate.figures.lines import lead_ticks
from stkit.evaluate.scores import REFERENCES
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import lead_axis

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DODGE = 0.07
_PANEL_INCHES = 2.6


def against_hardest(study: Study, variable: str) -> list[Compared]:
    """Every recipe against the baseline with the smallest error over all lead times; empty without a baseline, or by
    another score than the error, of which there is no skill."""
    if study.info is not None:
        return []
    errors = {
        member.name: member.overall[variable][0]
        for member in study.baselines
        if member.name not in REFERENCES and math.isfinite(member.overall[variable][0])
    }
    if not errors:
        return []
    hardest = min(errors, key=errors.__getitem__)
    return [one for one in study.of_variable(variable) if one.with_baseline and one.second == hardest]


def skill_of(one: Estimate) -> tuple[float, float, float] | None:
    """Skill, its lower and its upper end (not a number where there is none); None where it is not defined."""
    if one.relative is None or not math.isfinite(one.relative):
        return None
    ends = one.relative_interval()
    return (-one.relative, math.nan, math.nan) if ends is None else (-one.relative, -ends[1], -ends[0])


def draw_skill(folder: Path, study: Study, variable: str) -> Drawn | None:
    """Draw the skill of one variable against lead time into ``folder``; None without a baseline."""
    compared = against_hardest(study, variable)
    if not any(skill_of(lead) for one in compared for lead in one.paired.by_lead):
        return None
    stem = stem_of("skill", variable)
    draw(folder, stem, lambda theme, form: _figure(study, compared, theme, form))
    bars = "Bars: 95 % intervals of each lead time by itself, over windows and seeds. " if study.rankable else ""
    return Drawn(
        stem=stem,
        title=f"Skill against {spoken(compared[0].second)}, {variable}",
        alt=(
            f"Line chart of the skill against {spoken(compared[0].second)} by lead time of "
            f"{', '.join(one.first for one in compared)}."
        ),
        caption=(
            f"1 − error / error of {spoken(compared[0].second)}, the baseline with the smallest error: 0 is as good as "
            f"it, 1 is perfect. {bars}The verdict is about all lead times together."
        ),
    )


def _figure(study: Study, compared: list[Compared], theme: Theme, form: Format) -> Figure:
    figure = new_figure(form.width_inches, _PANEL_INCHES + 0.5)
    axis = figure.subplots()
    leads = np.arange(1, study.layout.horizon + 1)
    ends = [0.0]
    for number, one in enumerate(compared):
        shift = _DODGE * (number - (len(compared) - 1) / 2)
        rows = [skill_of(lead) or (math.nan,) * 3 for lead in one.paired.by_lead]
        skill, low, high = np.array(rows).T
        colour = theme.series[number % len(theme.series)]
        axis.plot(
            leads + shift,
            skill,
            color=colour,
            marker=_MARKERS[number % len(_MARKERS)],
            linewidth=1.8,
            markersize=4.5,
            label=one.first,
        )
        axis.vlines(leads + shift, low, high, colors=colour, linewidth=1.4, alpha=0.8)
        ends += [value for value in np.concatenate([skill, low, high]) if math.isfinite(value)]
    axis.axhline(0, color=theme.muted, linewidth=1, zorder=1)
    bottom, top = max(min(ends), -1.0), max(ends)
    room = 0.08 * max(top - bottom, 0.1)
    axis.set_ylim(bottom - room, top + room)
    axis.set_title("skill", loc="left", fontweight="bold")
    axis.set_xlabel(lead_axis(study.layout.lead_unit))
    axis.xaxis.set_major_locator(FixedLocator(lead_ticks([int(lead) for lead in leads])))
    margin = 0.25 if len(leads) < 5 else 0.5
    axis.set_xlim(leads[0] - margin, leads[-1] + margin)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    legend(figure, form, 1 if form.narrow else 3)
    return figure
