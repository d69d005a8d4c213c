"""Tables of scores by lead time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from stkit.evaluate.figures.canvas import stem_of
from stkit.evaluate.report.html import Markup, join, text
from stkit.evaluate.scores import PerLead, Scores, beside_decimals, best_at, decimals, number_text
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import signed_text, steps_text

_FEW_LEADS = 4


def score_tables(scores: Scores, variable: str) -> Markup:
    """A table for each score, and the skill, of one variable."""
    found = scores.variables[variable]
    tables = []
    for name, info in scores.metrics.items():
        values = {forecast: found.scores[forecast][name] for forecast in scores.forecasts}
        place = stem_of("table", variable, name)
        beside = found.beside.get(name, {})
        tables.append(
            _table(scores, values, info.title(found.units), f"{info.convention}.", place, info.better, beside)
        )
    if found.skill:
        # Skill stands second: it is what the verdict is about.
        title, place = "Skill of the model against", stem_of("table", variable, "skill")
        tables.insert(1, _table(scores, found.skill, title, f"{scores.skill_convention}.", place, None))
    least = "22rem" if len(scores.lead_steps) <= _FEW_LEADS else "100%"
    return Markup(f'<div class="tables" style="--least: {least}">\n{join(tables)}\n</div>')


def _table(
    scores: Scores,
    values: Mapping[str, PerLead],
    title: str,
    convention: str,
    place: str,
    better: str | None,
    beside: Mapping[str, PerLead] = MappingProxyType({}),
) -> Markup:
    leads = [steps_text(lead, scores.lead_unit) for lead in scores.lead_steps]
    head = "".join(f'<th scope="col">{text(lead)}</th>' for lead in leads)
    best = [best_at(values, better, lead) if better else frozenset() for lead in range(len(leads))]
    places = decimals(values)
    rows = []
    for name, row in values.items():
        cells = "".join(
            _cell(value, places, best=name in best[lead], signed=better is None) for lead, value in enumerate(row)
        )
        kind = ' class="model"' if name == "model" else ""
        rows.append(f'<tr{kind}><th scope="row">{text(spoken(name))}</th>{cells}</tr>')
    for name, row in beside.items():
        cells = "".join(_cell(value, beside_decimals(row), best=False, signed=False) for value in row)
        rows.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    body = "\n".join(rows)
    # The heading stands outside the part that scrolls, so that it is never cut off.
    return Markup(
        f'<div class="score"><p id="{place}"><b>{text(title)}</b><span>{text(_sentence(convention))}</span></p>\n'
        f'<div class="scroll" tabindex="0" role="group" aria-labelledby="{place}"><table aria-labelledby="{place}">\n'
        f'<thead><tr><th scope="col">lead time</th>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></div>'
    )


def _cell(value: float | None, places: int, *, best: bool, signed: bool) -> str:
    shown = signed_text(value) if signed else number_text(value, places)
    if best:
        return f'<td class="best">{text(shown)}<span class="hidden"> (best)</span></td>'
    if value is None:
        return f'<td><span aria-label="not defined">{text(shown)}</span></td>'
    return f'<td class="worse">{text(shown)}</td>' if signed and shown.startswith("−") else f"<td>{text(shown)}</td>"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
