"""Scores as they are kept in ``scores.json`` and shown. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stkit.errors import UsageError

PerLead = tuple[float | None, ...]
"""A number for each lead time; None where it is not defined."""

REFERENCES = frozenset({"optimal"})
"""Lines of a table that take no part in the contest: what no forecast can reach but by luck."""


@dataclass(frozen=True, slots=True)
class ScoreInfo:
    """What a score is; shown wherever its numbers are."""

    label: str
    convention: str
    better: str
    """``lower``, ``higher`` or ``zero``."""
    unit: str
    """``{u}`` stands for the field's unit."""


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
                name: {"label": info.label, "convention": info.convention, "better": info.better, "unit": info.unit}
                for name, info in self.metrics.items()
            },
            "variables": {name: _variable_dict(variable) for name, variable in self.variables.items()},
            "skill": {
                name: {baseline: list(values) for baseline, values in variable.skill.items()}
                for name, variable in self.variables.items()
            },
            "skill_convention": self.skill_convention,
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
                )
                for name, variable in content["variables"].items()
            },
            verdict=content["verdict"],
            data=content["data"],
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
    }


def best_at(values: Mapping[str, PerLead], better: str, lead: int) -> frozenset[str]:
    """The forecasts whose number at a lead (from 0) is the best, as it is printed; empty where none is defined."""
    # Numbers that look the same in the table are equally good there.
    places = decimals(values)
    ranks = {
        name: round(_rank(row[lead], better), places)
        for name, row in values.items()
        if row[lead] is not None and name not in REFERENCES
    }
    best = min(ranks.values(), default=math.inf)
    return frozenset(name for name, rank in ranks.items() if rank == best)


def _rank(value: float | None, better: str) -> float:
    assert value is not None
    return {"lower": value, "higher": -value, "zero": abs(value)}[better]


def decimals(values: Mapping[str, PerLead]) -> int:
    """Decimal places for a table: three significant figures below 1, four above, for the number in its middle."""
    sizes = sorted(abs(value) for row in values.values() for value in row if value)
    if not sizes:
        return 3
    exponent = math.floor(math.log10(sizes[len(sizes) // 2]))
    return min(max(0, (3 if exponent >= 0 else 2) - exponent), 9)


def number_text(value: float | None, places: int = 3) -> str:
    """A number in a table; a dash where it is not defined."""
    return "–" if value is None else f"{value:.{places}f}".replace("-", "−")


def finite(values: Any) -> PerLead:
    """Numbers for JSON: None for what is not finite."""
    return tuple(float(value) if math.isfinite(value) else None for value in values)
