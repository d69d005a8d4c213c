"""The tables of a comparison: what stands in the page and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from stkit.evaluate.comparison.study import Compared, Member, Study
from stkit.evaluate.comparison.words import ends, p_text
from stkit.evaluate.scores import decimals, number_text
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import steps_text, with_unit

VERDICT = "verdict"
"""Head of the column with the words."""
_PREFIXES = ("", "k", "M", "G", "T", "P")


class Table(NamedTuple):
    """Head and rows; the first cell of a row is its name."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def shown_score(study: Study, variable: str) -> str:
    """Name of the score in tables, with its unit: of the mean squared error its root."""
    units = next(one.units for one in study.layout.variables if one.name == variable)
    if study.info is not None:
        return study.info.title(units)
    return with_unit("RMSE" if study.score == "mse" else "MAE", units)


def score_words(study: Study) -> str:
    """Name of the score in a sentence."""
    if study.info is not None:
        return study.info.name(study.layout.variables[0].units)
    return {"mse": "mean squared error", "mae": "mean absolute error"}[study.score]


def shown_values(study: Study, member: Member, variable: str) -> tuple[tuple[float, ...], ...]:
    """Each seed's score by lead time as it is shown."""
    return tuple(tuple(_shown(study, value) for value in row) for row in member.scores[variable])


def scores_table(study: Study, variable: str) -> Table:
    """A row for each seed of each recipe and for each baseline: the score by lead time and over all."""
    rows: list[tuple[str, tuple[float, ...]]] = []
    for member in study.members:
        values = shown_values(study, member, variable)
        overall = [_shown(study, value) for value in member.overall[variable]]
        for number, (row, whole) in enumerate(zip(values, overall, strict=True)):
            name = f"{member.name}, seed {member.seeds[number]}" if member.trained else spoken(member.name)
            rows.append((name, (*row, whole)))
    places = decimals({name: tuple(_known(value) for value in row) for name, row in rows})
    head = ("", *(steps_text(lead, study.layout.lead_unit) for lead in range(1, study.layout.horizon + 1)), "all")
    return Table(head, tuple((name, *(number_text(_known(v), places) for v in row)) for name, row in rows))


def compared_tables(compared: Sequence[Compared]) -> dict[str, Table]:
    """For each forecast that is compared with, by its spoken name, a row for each that was compared with it."""
    head = ("", VERDICT, "difference", "p (Holm)", "p", "p (DM)", "blocks")
    rows: dict[str, list[tuple[str, ...]]] = {}
    for one in compared:
        row = (
            one.first,
            one.word,
            ends(one),
            p_text(one.p_adjusted),
            p_text(one.paired.overall.p),
            p_text(one.diebold_mariano),
            f"{one.paired.blocks:.3g}",
        )
        rows.setdefault(one.against, []).append(row)
    return {name: Table(head, tuple(found)) for name, found in rows.items()}


def cost_table(study: Study) -> Table:
    """What each recipe costs."""
    head = ("", "parameters", "FLOPs of a forward pass", "optimiser steps", "seconds of training", "seeds")
    rows = []
    for member in study.trained:
        cost = member.cost
        rows.append(
            (
                member.name,
                "–" if cost.parameters is None else f"{cost.parameters:,}".replace(",", " "),
                "–" if cost.flops is None else _short(cost.flops),
                _span([None if step is None else float(step) for step in cost.steps]),
                _span(cost.seconds),
                ", ".join(map(str, member.seeds)),
            )
        )
    return Table(head, tuple(rows))


def _short(number: float) -> str:
    """``1.23 G``."""
    exponent = min(len(_PREFIXES) - 1, int(math.log10(max(number, 1)) // 3))
    return f"{number / 1000**exponent:.3g} {_PREFIXES[exponent]}".strip()


def _span(values: Sequence[float | None]) -> str:
    """``400``, or ``391 to 402`` where the seeds differ."""
    known = [round(value) for value in values if value is not None]
    if not known:
        return "–"
    return str(known[0]) if min(known) == max(known) else f"{min(known)} to {max(known)}"


def _shown(study: Study, value: float) -> float:
    return math.sqrt(value) if study.score == "mse" else value


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
