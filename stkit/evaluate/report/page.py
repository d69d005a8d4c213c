"""The report as one HTML page: the verdict first, then the scores, the figures, and how to repeat it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stkit.evaluate.figures.canvas import Drawn, stem_of
from stkit.evaluate.report.document import document
from stkit.evaluate.report.html import (
    Markup,
    code,
    details,
    facts,
    figure,
    join,
    paragraph,
    plain_table,
    section,
    text,
)
from stkit.evaluate.report.inside import inside
from stkit.evaluate.report.player import player
from stkit.evaluate.report.record import Record
from stkit.evaluate.report.tables import refusals, score_tables
from stkit.evaluate.scores import Scores, decimals, number_text
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import percent, score_unit, steps_text

_UNBROKEN_DASH = "\u2060–\u2060"
NO_INTERVALS = "No 95 % intervals: these scores were made without; stkit eval makes them."
_MOST_FIRST = 4
"""Variables whose score stands at the top of the page; the tables have them all."""
_PARTS = ("train", "validation", "test")


def page(record: Record, drawn: Sequence[Drawn]) -> str:
    """The whole page, with its style and figures in it."""
    scores = record.scores
    by_kind: dict[str, list[Drawn]] = {}
    for one in drawn:
        by_kind.setdefault(one.stem.partition("-")[0], []).append(one)
    folder = record.run.figures
    sections = []
    if scores is not None:
        sections.append(_scores(record, scores, by_kind.get("scores", [])))
    if by_kind.get("curves"):
        sections.append(section("Behind the scores", *(figure(folder, one) for one in by_kind["curves"])))
    if by_kind.get("skill"):
        sections.append(section("Skill of each cell", *(figure(folder, one) for one in by_kind["skill"])))
    if by_kind.get("maps") or by_kind.get("animation"):
        shown = [figure(folder, one) for one in by_kind.get("maps", [])]
        shown += [player(folder, one) for one in by_kind.get("animation", [])]
        note = paragraph("Which windows are shown is fixed by their number, before any score is known.", "note")
        sections.append(section("Forecasts", note, *shown))
    seen = inside(record.run)
    if seen is not None:
        sections.append(seen)
    if record.own:
        sections.append(_training(record, folder, by_kind.get("loss", [])))
    sections.append(_data(record))
    sections.append(_repeat(record))
    return document(
        title=record.name,
        summary=str(record.about.get("summary") or ""),
        verdict=_verdict(record),
        worth=text(scores.worth if scores else ""),
        facts=facts(key_facts(record)),
        sections=join(sections),
        made_by=record.version,
        made_at=str(record.about.get("finished") or ""),
    )


def _verdict(record: Record) -> Markup:
    """What was found, a paragraph for each variable."""
    scores = record.scores
    if scores is None:
        return paragraph(_unscored(record), "verdict")
    if len(scores.variables) == 1:
        return paragraph(scores.finding.replace("–", _UNBROKEN_DASH), "verdict")
    starts = "|".join(re.escape(name) for name in scores.variables)
    found = re.split(rf"(?<=\.) (?=(?:{starts}): )", scores.finding)
    return join(paragraph(one.replace("–", _UNBROKEN_DASH), "verdict several") for one in found)


def key_facts(record: Record) -> list[tuple[str, str, str]]:
    """Name, value and a smaller line for what a reader asks first."""
    about, scores = record.about, record.scores
    found: list[tuple[str, str, str]] = []
    if scores is not None:
        found += _first_scores(scores)
        shown = f"{scores.windows} window{'s' if scores.windows != 1 else ''}"
        found.append(("tested on", shown, scores.span))
        counted = [variable.counted_fraction for variable in scores.variables.values()]
        of_grid = [variable.grid_fraction for variable in scores.variables.values()]
        below = f"of those with a true value; {_range(of_grid)} of the grid"
        found.append(("cells scored", _range(counted), below))
    step, steps = about.get("step"), about.get("steps")
    if step is not None:
        best = about.get("best_step")
        found.append(
            (
                "training",
                f"{step} of {steps} steps" if step != steps else f"{step} steps",
                f"weights of step {best}" if best is not None else "",
            )
        )
    if about.get("parameters") is not None:
        found.append(("parameters", f"{about['parameters']:,}".replace(",", " "), ""))
    if record.duration:
        found.append(("time", record.duration, f"on {_machine(about)}"))
    return found


def _first_scores(scores: Scores) -> list[tuple[str, str, str]]:
    name = scores.headline
    info = scores.metrics[name]
    found = []
    for variable_name, variable in list(scores.variables.items())[:_MOST_FIRST]:
        values = variable.scores["model"][name]
        unit = score_unit(info.unit, variable.units)
        ends = [values[0]] if len(values) == 1 else [values[0], values[-1]]
        leads = [steps_text(lead, scores.lead_unit) for lead in (scores.lead_steps[0], scores.lead_steps[-1])]
        places = decimals({"model": values})
        numbers = " → ".join(number_text(value, places) for value in ends)
        found.append(
            (
                f"{info.name(variable.units)} of {variable_name}",
                f"{numbers}\u00a0{unit}".strip(),
                f"at {leads[0]} → {leads[1]}" if len(ends) > 1 else f"at {leads[0]}",
            )
        )
    return found


def _scores(record: Record, scores: Scores, drawn: Sequence[Drawn]) -> Markup:
    pieces = [
        paragraph(
            "Underlined on a tint: the best at that lead time. Every forecast is scored on the same cells; "
            f"a dash means not defined. {scores.intervals or NO_INTERVALS}",
            "note",
        )
    ]
    several = len(scores.variables) > 1
    for name, variable in scores.variables.items():
        if several:
            pieces.append(Markup(f"<h3>{text(variable.long_name or name)} ({text(name)})</h3>"))
        pieces += [figure(record.run.figures, one) for one in drawn if one.stem == stem_of("scores", name)]
        pieces.append(score_tables(scores, name))
        pieces += [paragraph(why, "note") for why in refusals(scores, name)]
    compared = {spoken(forecast): sentence for forecast, sentence in scores.forecasts.items()}
    pieces.append(details("What is compared", plain_table(compared, "Forecasts that are compared")))
    return section("Scores by lead time", *pieces)


def _training(record: Record, folder: Path, drawn: Sequence[Drawn]) -> Markup:
    pieces = [figure(folder, one) for one in drawn]
    if record.about.get("reason"):
        pieces.append(paragraph(f"Training ended early: {record.about['reason']}.", "note"))
    if not pieces:
        pieces = [paragraph("No loss has been recorded yet.")]
    return section("Training", *pieces)


def _data(record: Record) -> Markup:
    rows: dict[str, object] = {}
    scores = record.scores
    rows.update({name: words for name, words in (scores.data if scores else {}).items() if words})
    split = record.about.get("split")
    if isinstance(split, Mapping):
        for part in _PARTS:
            if isinstance(split.get(part), Mapping):
                rows[part] = span_text(split[part])
    if scores is not None:
        rows["forecast"] = (
            f"{scores.input_steps} input steps, {len(scores.lead_steps)} lead times, step: {scores.lead_unit}"
        )
        rows["windows of the test part"] = f"{scores.windows} (hash {scores.windows_hash[:12]})"
    if not rows:
        return section("Data", paragraph("Nothing has been recorded yet."))
    note = (
        "Statistics, climatology and baselines are fitted on the training part; "
        "the test part is used for the scores only."
    )
    return section("Data", plain_table(rows, "Data and split"), paragraph(note, "note"))


def span_text(part: Mapping[str, Any]) -> str:
    """A part of the record in words."""
    words = []
    if part.get("first") is not None:
        words.append(f"{part['first']} to {part['last']}")
    if part.get("steps") is not None:
        words.append(f"{part['steps']} time steps")
    if part.get("windows") is not None:
        words.append(f"{part['windows']} windows")
    if part.get("of") is not None:
        words.append(f"of {part['of']}")
    return ", ".join(words) or ", ".join(f"{name} {value}" for name, value in part.items())


def _repeat(record: Record) -> Markup:
    about = record.about
    environment: dict[str, object] = {
        "outcome": about.get("outcome", "unknown"),
        "started": about.get("started", "unknown"),
        "command": about.get("command", "unknown"),
        "recipe": f"{record.name}, hash {str(about.get('recipe_hash', ''))[:12]}",
        "seed": about.get("seed", "unknown"),
        "machine": _machine(about),
        "precision": {"no": "float32"}.get(str(about.get("precision")), str(about.get("precision", "unknown"))),
        "platform": f"{about.get('platform', 'unknown')}, Python {about.get('python', 'unknown')}",
    }
    git = about.get("git")
    if isinstance(git, Mapping):
        environment["git commit"] = f"{git.get('commit')}{' with changes' if git.get('dirty') else ''}"
    for name, title in (("versions", "packages"), ("plugins", "plugins")):
        if isinstance(about.get(name), Mapping):
            environment[title] = ", ".join(f"{key} {value}" for key, value in about[name].items())
    written = [
        details("Overrides" if name == "overrides.txt" else f"Recipe as written: {name}", code(listing))
        for name, listing in record.source.items()
    ]
    return section(
        "How to repeat it",
        code(repeat_commands(record)),
        *written,
        details("Recipe with every value", code(record.recipe)),
        details("Environment", plain_table(environment, "Environment of the run")),
    )


def repeat_commands(record: Record) -> str:
    """The commands that repeat, use and score the run again."""
    if record.about.get("repeat"):
        return str(record.about["repeat"])
    path = shlex.quote(str(record.run.path))
    return "\n".join(
        [
            f'pip install "stkit-torch=={record.version}"' if record.version else "pip install stkit-torch",
            f"stkit recipe {path}              # train it again",
            f"stkit eval {path}                # score it again on the test part",
            f"stkit predict {path} INPUT.nc -o FORECAST.nc",
        ]
    )


def _machine(about: Mapping[str, Any]) -> str:
    device = str(about.get("device") or "unknown device")
    world = about.get("world_size") or 1
    return f"{world} x {device}" if world != 1 else device


def _unscored(record: Record) -> str:
    outcome = record.about.get("outcome", "unknown")
    reason = record.about.get("reason")
    return f"Not scored yet: the run is {outcome}{f' ({reason})' if reason else ''}."


def _range(shares: Sequence[float]) -> str:
    low, high = (percent(share) for share in (min(shares), max(shares)))
    return low if low == high else f"{low} to {high}"
