"""Tables of scores by lead time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from stkit.evaluate.figures.canvas import stem_of
from stkit.evaluate.report.html import COPY, Markup, join, text
from stkit.evaluate.scores import Ends, PerLead, Scores, beside_decimals, best_at, decimals, number_text
from stkit.evaluate.verdict import listed, spoken
from stkit.evaluate.words import signed_text, steps_text

_FEW_LEADS, _FEW_LEADS_WITH_INTERVALS = 4, 2
"""Of which two tables fit side by side."""


def score_tables(scores: Scores, variable: str) -> Markup:
    """A table for each score, and the skill, of one variable, with intervals where there are any."""
    found = scores.variables[variable]
    tables = []
    for name, info in scores.metrics.items():
        rows = {forecast: found.scores[forecast][name] for forecast in scores.forecasts}
        # A forecast for which a score says nothing, such as the spread of a single one, has no row of dashes.
        values = {forecast: row for forecast, row in rows.items() if forecast == "model" or _any(row)}
        place = stem_of("table", variable, name)
        beside = found.beside.get(name, {})
        ends = {"model": found.intervals.scores.get(name, ())}
        title = info.title(found.units)
        tables.append(_table(scores, values, title, f"{info.convention}.", place, info.better, ends, beside))
    if found.skill:
        # Skill stands second, after the score that the verdict is about.
        title, place = "Skill of the model against", stem_of("table", variable, "skill")
        convention = f"{scores.skill_convention}."
        tables.insert(1, _table(scores, found.skill, title, convention, place, None, found.intervals.skill))
    few = _FEW_LEADS_WITH_INTERVALS if found.intervals.any else _FEW_LEADS
    least = "22rem" if len(scores.lead_steps) <= few else "100%"
    return Markup(f'<div class="tables" style="--least: {least}">\n{join(tables)}\n</div>')


def _table(
    scores: Scores,
    values: Mapping[str, PerLead],
    title: str,
    convention: str,
    place: str,
    better: str | None,
    intervals: Mapping[str, Sequence[Ends]],
    beside: Mapping[str, PerLead] = MappingProxyType({}),
) -> Markup:
    leads = [steps_text(lead, scores.lead_unit) for lead in scores.lead_steps]
    head = "".join(f'<th scope="col">{text(lead)}</th>' for lead in leads)
    contest = better is not None and len(values) > 1
    best = [best_at(values, better or "", lead) if contest else frozenset() for lead in range(len(leads))]
    places = decimals(values)
    rows = []
    for name, row in values.items():
        ends = intervals.get(name) or [None] * len(row)
        cells = "".join(
            _cell(value, ends[lead], places, best=name in best[lead], signed=better is None)
            for lead, value in enumerate(row)
        )
        kind = ' class="model"' if name == "model" else ""
        rows.append(f'<tr{kind}><th scope="row">{text(spoken(name))}</th>{cells}</tr>')
    for name, row in beside.items():
        cells = "".join(_cell(value, None, beside_decimals(row), best=False, signed=False) for value in row)
        rows.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    body = "\n".join(rows)
    # The heading stands outside the part that scrolls, so that it is never cut off.
    return Markup(
        f'<div class="score"><p id="{place}"><b>{text(title)}</b><span>{text(_sentence(convention))}</span></p>{COPY}\n'
        f'<div class="scroll" tabindex="0" role="group" aria-labelledby="{place}"><table aria-labelledby="{place}">\n'
        f'<thead><tr><th scope="col">lead time</th>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></div>'
    )


def _any(row: PerLead) -> bool:
    return any(value is not None for value in row)


def _cell(value: float | None, ends: Ends, places: int, *, best: bool, signed: bool) -> str:
    shown = signed_text(value) if signed else number_text(value, places)
    interval = ""
    if value is not None and ends is not None:
        low, high = (signed_text(end) if signed else number_text(end, places) for end in ends)
        interval = f'<small data-low="{low}" data-high="{high}">{low} to {high}</small>'
    if best:
        return f'<td class="best">{text(shown)}<span class="hidden"> (best)</span>{interval}</td>'
    if value is None:
        return f'<td><span aria-label="not defined">{text(shown)}</span></td>'
    kind = ' class="worse"' if signed and shown.startswith("−") else ""
    return f"<td{kind}>{text(shown)}{interval}</td>"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def refusals(scores: Scores, variable: str) -> list[str]:
    """Why a score or a skill has no interval though the test part is long enough, in sentences."""
    found = scores.variables[variable]
    alike: dict[str, list[str]] = {}
    for name, why in found.intervals.refused.items():
        if name in scores.metrics:
            alike.setdefault(why, []).append(scores.metrics[name].name(found.units))
        elif name in found.skill:
            alike.setdefault(why, []).append(f"the skill against {spoken(name)}")
    return [f"No interval for {listed(names)}: {why}." for why, names in alike.items()]
