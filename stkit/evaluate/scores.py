"""Scores as they are kept in ``scores.json`` and shown. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stkit.errors import UsageError
from stkit.evaluate.words import score_unit, unit_text, with_unit

if TYPE_CHECKING:
    from stkit.evaluate.metric import Metric

PerLead = tuple[float | None, ...]
"""A number for each lead time; None where it is not defined."""

Ends = tuple[float, float] | None
"""Lower and upper end of an interval; None where none can be given."""

SQUARED = "mse"
"""The score that skill is made from."""

REFERENCES = frozenset({"optimal"})
"""Lines of a table that take no part in the contest: what no forecast can reach but by luck."""


@dataclass(frozen=True, slots=True)
class ScoreInfo:
    """What a score is; shown wherever its numbers are."""

    label: str
    """``{u}`` stands for the field's unit."""
    convention: str
    better: str
    """``lower``, ``higher``, ``zero`` or ``one``."""
    unit: str
    """``{u}`` stands for the field's unit."""
    useful_from: float | None = None
    """A forecast is called useful as long as the score is not below this."""

    @classmethod
    def of(cls, metric: Metric) -> ScoreInfo:
        """What a score says of itself."""
        return cls(metric.label, metric.convention, metric.better, metric.unit, metric.useful_from)

    def name(self, units: str) -> str:
        """The label without the score's unit, for a field in some units: ``CSI at 1 mm/h``."""
        return self.label.replace("{u}", unit_text(units)).strip()

    def title(self, units: str) -> str:
        """The label with the score's unit, for a field in some units: ``RMSE [°C]``."""
        return with_unit(self.name(units), score_unit(self.unit, units))


@dataclass(frozen=True, slots=True)
class CurveScores:
    """Lines over some axis, for each forecast and lead time."""

    x_label: str
    x: tuple[float, ...]
    lines: Mapping[str, Mapping[str, tuple[PerLead, ...]]]
    """For each forecast, each line by name: for each lead time its values at ``x``."""


@dataclass(frozen=True, slots=True)
class VariableIntervals:
    """95 % intervals of one variable's scores, by lead time."""

    scores: Mapping[str, tuple[Ends, ...]] = field(default_factory=dict)
    """Of the model's scores, by name."""
    skill: Mapping[str, tuple[Ends, ...]] = field(default_factory=dict)
    """Of the skill against each baseline."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why there is none: by the name of a score or a baseline, half a sentence. Empty where the whole test part is too
    short, which :attr:`Scores.intervals` tells."""

    @property
    def any(self) -> bool:
        """Whether there is one at all."""
        return any(ends is not None for row in (*self.scores.values(), *self.skill.values()) for ends in row)


@dataclass(frozen=True, slots=True)
class VariableScores:
    """Scores of one variable."""

    units: str
    long_name: str
    all_cells: int
    """Cells of the grid, over all windows and lead times."""
    true_cells: int
    """Those with a true value."""
    counted_cells: int
    """Those where every forecast has a value, too: only they are scored, the same for every forecast."""
    scores: Mapping[str, Mapping[str, PerLead]]
    """For each forecast (``model`` first), each score by lead time."""
    skill: Mapping[str, PerLead]
    """For each baseline ``1 - MSE / MSE of the baseline`` by lead time: 0 is as good, 1 is perfect."""
    beside: Mapping[str, Mapping[str, PerLead]] = field(default_factory=dict)
    """For some scores numbers of the truth that belong beside them, by lead time: ``observed events`` of ``csi_1``."""
    skill_horizon: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """For scores that say from where on a forecast is useful, and each forecast: the last lead time, in steps, up to
    which it is; 0 where it never is."""
    curves: Mapping[str, CurveScores] = field(default_factory=dict)
    """For some scores what they know besides their number: spectra, reliability, ranks."""
    intervals: VariableIntervals = VariableIntervals()
    """95 % intervals of the model's scores and skill."""

    @property
    def counted_fraction(self) -> float:
        """Counted cells as a share of those with a true value."""
        return self.counted_cells / self.true_cells if self.true_cells else 0.0

    @property
    def grid_fraction(self) -> float:
        """Counted cells as a share of the whole grid: what land takes is missing here."""
        return self.counted_cells / self.all_cells if self.all_cells else 0.0


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one run on its test part."""

    windows: int
    independent_windows: int
    """How many windows can be picked that share no time step."""
    windows_hash: str
    span: str
    """First to last time of the test part, in words."""
    input_steps: int
    lead_steps: tuple[int, ...]
    lead_unit: str
    """One step in words: ``month``, ``5 min``, ``step``."""
    forecasts: Mapping[str, str]
    """What is compared: name and one sentence each, the model first."""
    metrics: Mapping[str, ScoreInfo]
    variables: Mapping[str, VariableScores]
    verdict: str
    data: Mapping[str, str] = field(default_factory=dict)
    """Name, licence and citation of the data, where they are known."""
    intervals: str = ""
    """How the intervals are made, or why there are none, in a sentence or two; empty where nobody asked."""
    skill_convention: str = "1 - MSE / MSE of the baseline, on the same cells; 0: as good as it, 1: perfect"
    split: str = field(default="test", init=False)

    @property
    def finding(self) -> str:
        """What was found: the verdict without its last sentence."""
        return self.verdict.rpartition(". ")[0] + "." if ". " in self.verdict else self.verdict

    @property
    def worth(self) -> str:
        """What the finding is worth: the last sentence of the verdict."""
        return self.verdict.rpartition(". ")[2] if ". " in self.verdict else ""

    @property
    def headline(self) -> str:
        """The score that stands first: the first that the recipe names. The verdict is about it."""
        return next(iter(self.metrics))

    @property
    def baselines(self) -> tuple[str, ...]:
        """The forecasts that the model is compared with."""
        return tuple(name for name in self.forecasts if name != "model")

    def as_dict(self) -> dict[str, Any]:
        """For JSON; a number that is not finite is null there."""
        return {
            "split": self.split,
            "verdict": self.verdict,
            "windows": self.windows,
            "independent_windows": self.independent_windows,
            "windows_hash": self.windows_hash,
            "span": self.span,
            "input_steps": self.input_steps,
            "lead_steps": list(self.lead_steps),
            "lead_unit": self.lead_unit,
            "forecasts": dict(self.forecasts),
            "metrics": {
                name: {key: value for key, value in asdict(info).items() if value is not None}
                for name, info in self.metrics.items()
            },
            "variables": {name: _variable_dict(variable) for name, variable in self.variables.items()},
            "skill": {
                name: {baseline: list(values) for baseline, values in variable.skill.items()}
                for name, variable in self.variables.items()
            },
            "skill_convention": self.skill_convention,
            "intervals": self.intervals,
            "data": dict(self.data),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scores:
        """What :meth:`as_dict` gave."""
        return cls(
            windows=content["windows"],
            independent_windows=content["independent_windows"],
            windows_hash=content["windows_hash"],
            span=content["span"],
            input_steps=content["input_steps"],
            lead_steps=tuple(content["lead_steps"]),
            lead_unit=content["lead_unit"],
            forecasts=content["forecasts"],
            metrics={name: ScoreInfo(**info) for name, info in content["metrics"].items()},
            variables={
                name: VariableScores(
                    units=variable["units"],
                    long_name=variable["long_name"],
                    all_cells=variable["all_cells"],
                    true_cells=variable["true_cells"],
                    counted_cells=variable["counted_cells"],
                    scores={
                        forecast: {score: tuple(values) for score, values in scores.items()}
                        for forecast, scores in variable["scores"].items()
                    },
                    skill={baseline: tuple(values) for baseline, values in content["skill"][name].items()},
                    beside={
                        score: {number: tuple(values) for number, values in numbers.items()}
                        for score, numbers in variable.get("beside", {}).items()
                    },
                    skill_horizon=variable.get("skill_horizon", {}),
                    curves={score: _curve(curve) for score, curve in variable.get("curves", {}).items()},
                    intervals=_intervals(variable.get("intervals", {})),
                )
                for name, variable in content["variables"].items()
            },
            verdict=content["verdict"],
            data=content["data"],
            intervals=content.get("intervals", ""),
            skill_convention=content["skill_convention"],
        )

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Read ``scores.json``.

        Raises:
            UsageError: there is none, or it cannot be read.
        """
        if not path.exists():
            raise UsageError(f"{path}: there are no scores yet; `stkit eval {path.parent}` makes them")
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: cannot be read ({error}); `stkit eval {path.parent}` makes it again") from error


def _variable_dict(variable: VariableScores) -> dict[str, Any]:
    return {
        "units": variable.units,
        "long_name": variable.long_name,
        "all_cells": variable.all_cells,
        "true_cells": variable.true_cells,
        "counted_cells": variable.counted_cells,
        "counted_fraction": variable.counted_fraction,
        "scores": {
            forecast: {score: list(values) for score, values in scores.items()}
            for forecast, scores in variable.scores.items()
        },
        "beside": {
            score: {number: list(values) for number, values in numbers.items()}
            for score, numbers in variable.beside.items()
        },
        "skill_horizon": {score: dict(horizons) for score, horizons in variable.skill_horizon.items()},
        "curves": {
            score: {
                "x_label": curve.x_label,
                "x": list(curve.x),
                "lines": {
                    forecast: {name: [list(lead) for lead in leads] for name, leads in lines.items()}
                    for forecast, lines in curve.lines.items()
                },
            }
            for score, curve in variable.curves.items()
        },
        "intervals": {
            "scores": _rows(variable.intervals.scores),
            "skill": _rows(variable.intervals.skill),
            "refused": dict(variable.intervals.refused),
        },
    }


def _rows(rows: Mapping[str, tuple[Ends, ...]]) -> dict[str, list[list[float] | None]]:
    return {name: [None if ends is None else list(ends) for ends in row] for name, row in rows.items()}


def _intervals(content: Mapping[str, Any]) -> VariableIntervals:
    scores, skill = (
        {
            name: tuple(None if ends is None else (ends[0], ends[1]) for ends in row)
            for name, row in content.get(kind, {}).items()
        }
        for kind in ("scores", "skill")
    )
    return VariableIntervals(scores, skill, content.get("refused", {}))


def _curve(content: Mapping[str, Any]) -> CurveScores:
    lines = {
        forecast: {name: tuple(tuple(lead) for lead in leads) for name, leads in lines.items()}
        for forecast, lines in content["lines"].items()
    }
    return CurveScores(content["x_label"], tuple(content["x"]), lines)


def skill_horizon(values: PerLead, useful_from: float) -> int:
    """The last lead time, in steps, up to which a score is at least ``useful_from``; 0 where it never is."""
    for lead, value in enumerate(values):
        if value is None or value < useful_from:
            return lead
    return len(values)


def best_at(values: Mapping[str, PerLead], better: str, lead: int) -> frozenset[str]:
    """The forecasts whose number at a lead (from 0) is the best, as it is printed; empty where none is defined."""
    # Numbers that look the same in the table are equally good there.
    places = decimals(values)
    ranks = {
        name: round(rank(value, better), places)
        for name, row in values.items()
        if (value := row[lead]) is not None and name not in REFERENCES
    }
    best = min(ranks.values(), default=math.inf)
    return frozenset(name for name, rank in ranks.items() if rank == best)


def rank(value: float, better: str) -> float:
    """A number of which the lower is better, from a score and which way of it is (:attr:`ScoreInfo.better`)."""
    if better == "one":
        return abs(math.log(value)) if value > 0 else math.inf
    return {"lower": value, "higher": -value, "zero": abs(value)}[better]


def decimals(values: Mapping[str, PerLead]) -> int:
    """Decimal places for a table: three significant figures below 1, four above, for the number in its middle."""
    sizes = sorted(abs(value) for row in values.values() for value in row if value)
    if not sizes:
        return 3
    exponent = math.floor(math.log10(sizes[len(sizes) // 2]))
    return min(max(0, (3 if exponent >= 0 else 2) - exponent), 9)


def beside_decimals(row: PerLead) -> int:
    """Decimal places for a line of numbers beside a score: none where all are whole, as counts are."""
    return 0 if all(value is None or value.is_integer() for value in row) else decimals({"": row})


def number_text(value: float | None, places: int = 3) -> str:
    """A number in a table; a dash where it is not defined."""
    return "–" if value is None else f"{value:.{places}f}".replace("-", "−")


def finite(values: Any) -> PerLead:
    """Numbers for JSON: None for what is not finite."""
    return tuple(float(value) if math.isfinite(value) else None for value in values)
