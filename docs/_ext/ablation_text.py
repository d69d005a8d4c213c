"""The tables and sentences of an ablation as Markdown, from its record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import ablation_records

from stkit.evaluate.comparison.tables import Table, compared_tables, cost_table, scores_table, shown_score
from stkit.evaluate.comparison.words import finding, not_ranked, worth


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


def _markdown(table: Table) -> Iterator[str]:
    yield _row(table.head)
    yield "|---|" + "".join("---|" if _is_word(table, column) else "---:|" for column in range(1, len(table.head)))
    yield from (_row(row) for row in table.rows)


def _is_word(table: Table, column: int) -> bool:
    return all(not any(letter.isdigit() for letter in row[column]) for row in table.rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
