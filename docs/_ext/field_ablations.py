"""The ablations on fields with a known answer: what was expected, what was found, and how far from the best forecast.

Tables are Markdown; all numbers are of the records in ``docs/records/ablation/``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ablation_records import RECORDS

from stkit.evaluate.comparison.saved import study_of
from stkit.evaluate.comparison.study import Compared, Member, Study, Word
from stkit.evaluate.verdict import spoken

VARIABLE, OPTIMUM, BAR = "field", "optimal", "damped_anomaly"
PLAIN = "attention=none nonstationary=none"
NAMES: Mapping[str, str] = {
    "nonstationary=mim": "MIM",
    "nonstationary=differencing": "differencing",
    "nonstationary=reversible_norm": "reversible norm",
    "attention=sam": "attention",
}
"""Parts of a cell's name in words; what is ``none`` is left out."""

SAME: Word = "not distinguishable"
EXPECTED: Mapping[str, Mapping[str, Word]] = {
    "field-still": {"MIM": SAME, "differencing": "worse", "attention": SAME},
    "field-wandering": {"MIM": SAME, "differencing": "better", "attention": SAME},
    "field-trend": {"MIM": SAME, "differencing": "better", "attention": SAME},
    "field-swelling": {"MIM": SAME, "differencing": "worse", "reversible norm": "better"},
    "field-fast": {"MIM": SAME, "differencing": SAME, "attention": "better"},
}
"""Against the plain model; written down before the ablation was run."""


class Row(NamedTuple):
    """A cell of the grid or a baseline on one field."""

    label: str
    ratios: tuple[float, ...]
    """For each seed its RMSE over all lead times, in units of that of the best possible forecast."""
    against_plain: Word | None
    """None for the plain model itself and for baselines."""
    against_bar: Word | None
    """Against damped persistence; None for baselines."""

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return sum(self.ratios) / len(self.ratios)


def names() -> list[str]:
    """The fields of which there is a record, in the order of the page."""
    return [name for name in EXPECTED if (RECORDS / f"{name}.json").is_file()]


def load(field: str) -> Study:
    """The comparison of the cells on a field."""
    content = json.loads((RECORDS / f"{field}.json").read_text(encoding="utf-8"))
    return study_of(content["comparison"])


def label(cell: str) -> str:
    """A cell's name in words: ``MIM and attention``."""
    parts = [part for part in reversed(cell.split()) if not part.endswith("=none")]
    return " and ".join(NAMES[part] for part in parts) or "plain"


def rows(study: Study) -> list[Row]:
    """The cells of the grid in their order, then the baselines."""
    best = next(member for member in study.members if member.name == OPTIMUM)
    said = {(one.first, one.second): one for one in study.of_variable(VARIABLE)}
    found = []
    for member in study.members:
        if member.name == OPTIMUM:
            continue
        plain, bar = (_word(said.get((member.name, second))) for second in (PLAIN, BAR))
        name = label(member.name) if member.trained else spoken(member.name)
        found.append(Row(name, _ratios(member, best), plain, bar))
    return found


def _ratios(member: Member, best: Member) -> tuple[float, ...]:
    (unit,) = best.overall[VARIABLE]
    return tuple(math.sqrt(value / unit) for value in member.overall[VARIABLE])


def _word(compared: Compared | None) -> Word | None:
    return None if compared is None else compared.word


def expected_table(_records: object, _name: str) -> Iterator[str]:
    """For each field and module what was expected and what was found."""
    yield "| field | module | expected | found | |"
    yield "|---|---|---|---|---|"
    for field in names():
        found = {row.label: row for row in rows(load(field))}
        for module, expected in EXPECTED[field].items():
            if module in found:
                word = found[module].against_plain
                yield f"| `{field}` | {module} | {expected} | {word} | {_outcome(expected, word)} |"


def _outcome(expected: Word, found: Word | None) -> str:
    """Where nothing could be ranked, nothing came out and nothing failed to."""
    if found in (None, "not ranked"):
        return "undecided"
    return "as expected" if found == expected else "**not**"


def count_line(_records: object, _name: str) -> Iterator[str]:
    """How many expectations came out."""
    outcomes = []
    for field in names():
        found = {row.label: row.against_plain for row in rows(load(field))}
        outcomes += [_outcome(word, found[module]) for module, word in EXPECTED[field].items() if module in found]
    right, wrong, open_ = (outcomes.count(outcome) for outcome in ("as expected", "**not**", "undecided"))
    yield f"Of {len(outcomes)} expectations {right} came out, {wrong} did not, {open_} could not be decided."


def field_table(_records: object, field: str) -> Iterator[str]:
    """One field: every seed of every cell, and the words."""
    if field not in names():
        yield "No ablation is recorded yet."
        return
    study = load(field)
    yield "| | error over the best possible one, each seed | against plain | against damped anomaly |"
    yield "|---|---|---|---|"
    for row in rows(study):
        seeds = " · ".join(f"{ratio:.3g}" if ratio >= 10 else f"{ratio:.3f}" for ratio in row.ratios)
        yield f"| {row.label} | {seeds} | {row.against_plain or ''} | {row.against_bar or ''} |"
    yield ""
    yield (
        f"{study.windows} test windows, {study.blocks:.0f} blocks of {study.block}; "
        f"{len(study.trained[0].seeds)} seeds; {study.trained[0].cost.steps[0]} steps a run."
    )
