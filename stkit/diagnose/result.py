"""What a diagnosis found, as it is written to ``diagnosis.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stkit.diagnose.attention import AgeMap, Ages, Look, LookMap
from stkit.diagnose.decoupling import Overlap
from stkit.diagnose.gates import CLAIM, CLAIM_SOURCE, Bounds, GateSeries, memories, saturation_of
from stkit.diagnose.stationarity import Comparison, SignalDrift, of_white_noise


@dataclass(frozen=True)
class GradientFlow:
    """Of one run: how strongly the last frame's error depends on each input frame."""

    name: str
    """The recipe's."""
    run: str
    norms: tuple[float, ...]
    """Norm of the gradient by input frame, oldest first; mean over windows."""
    windows: int
    """Windows whose last frame has a value."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found in one run."""

    run: str
    name: str
    trained_steps: int
    """Optimiser steps of the weights."""
    part: str
    windows: tuple[int, ...]
    """Numbers of the windows that were looked at, from 0."""
    windows_hash: str
    """Of all windows of the part."""
    lead_unit: str
    input_steps: int
    leads: tuple[int, ...]
    """Lead time that each step of the model forecasts; 0 and below: inside the input."""
    layers: Mapping[int, str]
    """What stands in each layer."""
    bounds: Bounds
    gates: tuple[GateSeries, ...]
    gradients: tuple[GradientFlow, ...]
    """Of this run first, then of those beside it."""
    looks: tuple[Look, ...]
    ages: tuple[Ages, ...]
    drifts: tuple[SignalDrift, ...]
    drift_steps: int
    """Steps of the series that ``drifts`` describe."""
    comparisons: tuple[Comparison, ...]
    overlaps: tuple[Overlap, ...]
    look_maps: tuple[LookMap, ...] = ()
    age_maps: tuple[AgeMap, ...] = ()

    def layer(self, number: int) -> str:
        """``layer 2 (st_lstm)``."""
        return f"layer {number} ({self.layers[number]})"

    def as_dict(self) -> dict[str, Any]:
        """For ``diagnosis.json``; the maps are in the figures only."""
        trend, lag1 = of_white_noise(self.drift_steps) if self.drift_steps > 1 else (None, None)
        return {
            "run": str(Path(self.run)),
            "name": self.name,
            "trained_steps": self.trained_steps,
            "part": self.part,
            "windows": list(self.windows),
            "windows_hash": self.windows_hash,
            "lead_unit": self.lead_unit,
            "input_steps": self.input_steps,
            "leads": list(self.leads),
            "layers": {str(number): name for number, name in self.layers.items()},
            "gates": {
                "saturated": {"below": self.bounds.below, "above": self.bounds.above},
                "claim": {"share": CLAIM, "source": CLAIM_SOURCE},
                "memories": {
                    memory: dict(zip(("saturated", "always"), saturation_of(self.gates, memory), strict=True))
                    for memory in memories(self.gates)
                },
                "series": [
                    {**asdict(one), "saturated": list(one.saturated), "saturated_mean": one.saturated_mean}
                    for one in self.gates
                ],
            },
            "gradients": [asdict(flow) for flow in self.gradients],
            "attention": [asdict(look) for look in self.looks],
            "recall": [asdict(ages) for ages in self.ages],
            "stationarity": {
                "steps": self.drift_steps,
                "white_noise": {"trend_share": trend, "lag1": lag1},
                "signals": [asdict(one) for one in self.drifts],
                "made_minus_read": [{**asdict(one), "verdict": one.verdict} for one in self.comparisons],
            },
            "decoupling": [{**asdict(one), "mean": one.mean} for one in self.overlaps],
        }
