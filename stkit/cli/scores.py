"""Scores as tables in the terminal. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from stkit.cli.output import console
from stkit.evaluate.scores import PerLead, ScoreInfo, Scores, beside_decimals, best_at, decimals, number_text
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import percent, signed_text, steps_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def print_scores(scores: Scores, *, every: bool = False) -> None:
    """Print the verdict, and for each variable the first score and the skill by lead time.

    Args:
        scores: of a run.
        every: every score, not just the first and the skill.
    """
    from rich.text import Text

    out = console()
    for name, variable in scores.variables.items():
        chosen = list(scores.metrics) if every else [scores.headline]
        for place, metric in enumerate(chosen):
            info = scores.metrics[metric]
            values = {forecast: variable.scores[forecast][metric] for forecast in scores.forecasts}
            title = f"{info.title(variable.units)} of {name} on the test part"
            table = _table(scores, values, info.better, variable.beside.get(metric, {}))
            out.print(_heading(title, info.convention), table, sep="\n")
            if metric in variable.skill_horizon:
                out.print(_horizons(scores, info, variable.skill_horizon[metric]))
            if place == 0 and variable.skill:
                heading = _heading("skill of the model against", scores.skill_convention)
                out.print("", heading, _table(scores, variable.skill, None), sep="\n")
            out.print()
        counted = f"{percent(variable.counted_fraction)} of those with a true value"
        out.print(Text(f"scored cells: {counted}, {percent(variable.grid_fraction)} of the grid\n", style="dim"))
    out.print(Text(scores.finding, style="bold"))
    out.print(Text(scores.worth))


def _heading(title: str, convention: str) -> Text:
    from rich.text import Text

    return Text.assemble((title, "bold"), "\n", (convention, "dim"))


def _horizons(scores: Scores, info: ScoreInfo, horizons: Mapping[str, int]) -> Text:
    """How long each forecast is useful, in one line."""
    from rich.text import Text

    told = [f"{spoken(name)} {steps_text(lead, scores.lead_unit)}" for name, lead in horizons.items() if lead]
    return Text(
        f"skill horizon, the last lead time up to which it is at least {info.useful_from:g}: "
        f"{', '.join(told) or 'none of them has one'}"
    )


def _table(
    scores: Scores,
    values: Mapping[str, PerLead],
    better: str | None,
    beside: Mapping[str, PerLead] = MappingProxyType({}),
) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("")
    for lead in scores.lead_steps:
        table.add_column(steps_text(lead, scores.lead_unit), justify="right")
    best = [best_at(values, better, lead) if better else frozenset() for lead in range(len(scores.lead_steps))]
    places = decimals(values)
    for name, row in values.items():
        cells = []
        for lead, value in enumerate(row):
            shown = number_text(value, places) if better else signed_text(value)
            # The star says it where there are no colours.
            cells.append(Text(f"{shown} *", style="bold green") if name in best[lead] else Text(f"{shown}  "))
        table.add_row(Text(spoken(name), style="bold" if name == "model" else ""), *cells)
    for name, row in beside.items():
        numbers = (Text(f"{number_text(value, beside_decimals(row))}  ") for value in row)
        table.add_row(Text(name, style="dim"), *numbers)
    if better:
        table.caption = Text("* best at that lead time", style="dim")
        table.caption_justify = "left"
    return table
