"""Comparisons as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stkit.cli.output import console
from stkit.evaluate.comparison.tables import Table, compared_tables, cost_table, score_words, scores_table, shown_score
from stkit.evaluate.comparison.words import finding, not_ranked, worth

if TYPE_CHECKING:
    from stkit.evaluate.comparison.study import Study

_STYLES = {"better": "bold green", "worse": "bold red"}


def print_study(study: Study) -> None:
    """Print every seed's score, the differences, what it cost, and what was found."""
    from rich.text import Text

    out = console()
    for variable in study.layout.variables:
        out.print(Text(f"{shown_score(study, variable.name)} of {variable.name} by lead time", style="bold"))
        _print({"": scores_table(study, variable.name)})
        compared = study.of_variable(variable.name)
        if compared:
            out.print()
            title = f"difference of the {score_words(study)} of {variable.name} over all lead times"
            out.print(Text(title, style="bold"))
            _print({f"against {name}": table for name, table in compared_tables(compared).items()})
        if study.rankable:
            for one in compared:
                if one.word == "not ranked":
                    out.print(Text(not_ranked(one), style="dim"))
        out.print()
    _print({"": cost_table(study)})
    out.print()
    for words in finding(study):
        out.print(Text(words, style="bold"))
    out.print(Text(worth(study)))
    for note in study.notes:
        out.print(Text(f"note: {note}"))


def _print(tables: Mapping[str, Table]) -> None:
    """Tables with one head below each other, each under its name."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, header_style="dim", pad_edge=False)
    for place, name in enumerate(next(iter(tables.values())).head):
        shown.add_column(name, justify="left" if place == 0 else "right")
    for name, table in tables.items():
        if name:
            shown.add_row(Text(name, style="bold"))
        for row in table.rows:
            shown.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console().print(shown)
