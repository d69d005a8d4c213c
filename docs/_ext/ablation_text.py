"""The tables and sentences of an ablation as Markdown, from its record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import ablation_records

from stkit.evaluate.comparison.study import Study
from stkit.evaluate.comparison.tables import Table, compared_tables, cost_table, scores_table, shown_score
from stkit.evaluate.comparison.words import ends, finding, not_ranked, worth

MOST_STEPS = 1200
"""Longer test parts are not told by their number: nothing is known of fields so long."""


def verdict(_records: object, name: str) -> Iterator[str]:
    """What was found, and what it rests on."""
    study = ablation_records.load(name).study
    for sentence in finding(study):
        yield f"> {sentence}"
        yield ">"
    yield f"> {worth(study)}"


def differences(_records: object, record: str) -> Iterator[str]:
    """Every comparison, with its word, interval and p-values."""
    study = ablation_records.load(record).study
    for variable in study.layout.variables:
        compared = study.of_variable(variable.name)
        found = compared_tables(compared)
        head = (
            "" if len(study.layout.variables) == 1 else variable.name,
            "against",
            *next(iter(found.values())).head[1:],
        )
        rows = [(row[0], second, *row[1:]) for second, table in found.items() for row in table.rows]
        yield from _markdown(Table(head, tuple(rows)))
        yield ""
        if study.rankable:
            unranked = [not_ranked(one) for one in compared if one.word == "not ranked"]
            yield from (f"- {sentence}." for sentence in unranked)
            yield from [""] * bool(unranked)


def seeds(_records: object, name: str) -> Iterator[str]:
    """Every seed's score by lead time, and the baselines'."""
    study = ablation_records.load(name).study
    for variable in study.layout.variables:
        table = scores_table(study, variable.name)
        head = (f"{shown_score(study, variable.name)} of {variable.name}", *table.head[1:])
        yield from _markdown(Table(head, table.rows))
        yield ""


def cost(_records: object, name: str) -> Iterator[str]:
    """Parameters, operations, steps and seconds of each cell of the grid."""
    about, study = ablation_records.load(name)
    yield from _markdown(cost_table(study))
    yield ""
    parts = ", ".join(f"{part} {span['first'][:7]} to {span['last'][:7]}" for part, span in about["split"].items())
    yield (
        f"FLOPs of one forward pass over one training window. {about['budget'].removesuffix('steps')} steps a run, on "
        f"{about['device']}, torch {about['versions']['torch'].split('+')[0]}, {about['finished'][:10]}; {parts}."
    )


def needed(_records: object, name: str) -> Iterator[str]:
    """For each cell against the first: what could be seen, and how long a test part would show what was found."""
    about, study = ablation_records.load(name)
    if not study.rankable:
        test, unit = about["split"]["test"], study.layout.lead_unit
        record = test["stop"] - test["steps"] + (study.steps_needed or 0)
        yield (
            f"The test part has {test['steps']} {unit}s and needs {study.steps_needed} to rank anything: with training "
            f"and validation as they are, a record of {record} {unit}s, and there are {test['stop']}."
        )
        return
    first = study.trained[0].name
    unit = study.layout.lead_unit
    yield _row((f"against {first}", "variable", "difference", "smallest that stands out", f"test {unit}s that show it"))
    yield "|---|---|---:|---:|---:|"
    for one in study.compared:
        if one.with_baseline:
            continue
        found = one.paired.overall
        interval, relative = found.relative_interval(), found.relative
        reach = steps = "–"
        if interval is not None and relative:
            half = (interval[1] - interval[0]) / 2
            long = math.ceil(_frames(study) * (half / relative) ** 2)
            reach, steps = f"{100 * half:.1f} %", f"{long:,}" if long <= MOST_STEPS else f"more than {MOST_STEPS:,}"
        yield _row((one.first, one.variable, ends(one).partition(" [")[0], reach, steps))


def _frames(study: Study) -> int:
    layout = study.layout
    return max(layout.starts) - min(layout.starts) + layout.input_steps + layout.horizon


def _markdown(table: Table) -> Iterator[str]:
    yield _row(table.head)
    yield "|---|" + "".join("---|" if _is_word(table, column) else "---:|" for column in range(1, len(table.head)))
    yield from (_row(row) for row in table.rows)


def _is_word(table: Table, column: int) -> bool:
    return all(not any(letter.isdigit() for letter in row[column]) for row in table.rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
