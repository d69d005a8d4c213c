"""The model card: what the weights are, what they were trained on, and what they are worth."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

from stkit.evaluate.report.page import repeat_commands, span_text
from stkit.evaluate.report.record import Record
from stkit.evaluate.scores import Scores, beside_decimals, best_at, decimals, number_text
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import percent, steps_text

_SPECIAL = re.compile(r"([\\`*_{}\[\]|#])")


def card(record: Record) -> str:
    """The card as Markdown."""
    about, scores = record.about, record.scores
    blocks = [
        "---\nlibrary_name: stkit-torch\ntags: [spatiotemporal-forecasting, recurrent]\n---",
        f"# {plain(record.name)}",
    ]
    if about.get("summary"):
        blocks.append(plain(str(about["summary"])))
    blocks.append(
        f"**{plain(scores.finding)}** {plain(scores.worth)}" if scores else "Not scored on the test part yet."
    )
    blocks += ["## Use", _listing(repeat_commands(record), "sh"), _listing(_python(record), "python")]
    if scores is not None:
        blocks += ["## Scores on the test part", *_scores(scores)]
    blocks += ["## Data", _data(record)]
    blocks += ["## Training", _training(record)]
    blocks += [
        "## Limits",
        "The model knows one field on one grid, from one training run. It gives one forecast without its uncertainty. "
        "Errors grow with lead time; beyond the horizon it was trained for they are not known.",
    ]
    return "\n\n".join(blocks) + "\n"


def plain(words: str) -> str:
    """Text that Markdown and HTML leave as it is, in one line."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(words.split()), quote=False))


def _scores(scores: Scores) -> list[str]:
    blocks = []
    leads = [plain(steps_text(lead, scores.lead_unit)) for lead in scores.lead_steps]
    for name, variable in scores.variables.items():
        for metric, info in scores.metrics.items():
            values = {forecast: variable.scores[forecast][metric] for forecast in scores.forecasts}
            best = [best_at(values, info.better, lead) for lead in range(len(leads))]
            places = decimals(values)
            blocks.append(f"{plain(name)}, {plain(info.title(variable.units))}: {plain(info.convention)}.")
            rows = [
                [
                    plain(spoken(forecast)),
                    *(
                        f"**{number_text(value, places)}**" if forecast in best[lead] else number_text(value, places)
                        for lead, value in enumerate(row)
                    ),
                ]
                for forecast, row in values.items()
            ]
            for words, row in variable.beside.get(metric, {}).items():
                rows.append([plain(words), *(number_text(value, beside_decimals(row)) for value in row)])
            blocks.append(_table(["", *leads], rows))
        blocks.append(
            f"{variable.counted_cells} cells were scored: {percent(variable.counted_fraction)} of those with a true "
            f"value, {percent(variable.grid_fraction)} of the grid. Bold: the best at that lead time."
        )
    return blocks


def _data(record: Record) -> str:
    lines = []
    for name, words in (record.scores.data if record.scores else {}).items():
        if words:
            lines.append(f"- {plain(name)}: {plain(words)}")
    split = record.about.get("split")
    if isinstance(split, Mapping):
        lines += [
            f"- {part}: {plain(span_text(split[part]))}"
            for part in ("train", "validation", "test")
            if isinstance(split.get(part), Mapping)
        ]
    return "\n".join(lines) or "Nothing has been recorded."


def _training(record: Record) -> str:
    about = record.about
    lines = [
        ("parameters", about.get("parameters")),
        ("optimiser steps", about.get("step")),
        ("step of the weights", about.get("best_step")),
        ("seed", about.get("seed")),
        ("device", about.get("device")),
        ("recipe hash", about.get("recipe_hash")),
        ("stkit-torch", record.version or None),
    ]
    return "\n".join(f"- {name}: {plain(str(value))}" for name, value in lines if value is not None)


def _python(record: Record) -> str:
    return "\n".join(
        [
            "import stkit",
            "",
            f"forecaster = stkit.load({str(record.run.path)!r})",
            "forecast = forecaster(context, horizon, times=times)  # B T C H W in physical units",
        ]
    )


def _listing(listing: str, language: str) -> str:
    return f"```{language}\n{listing}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
