"""How many forget gates are saturated, by layer and step.

Memory In Memory (Wang et al. 2019, section 1) finds that about 80 % of PredRNN's forget gates are saturated over all
time stamps on radar maps, and concludes that the memory hardly changes. No bounds stand there; those of Karpathy et
al. 2015 (arXiv:1506.02078) are taken here unless others are asked for: below 0.1 and above 0.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stkit.diagnose.recorder import Kept, Step

CLAIM = 0.8
"""The share of the paper."""
CLAIM_SOURCE = "Memory In Memory (Wang et al. 2019, section 1), PredRNN on radar maps"
BELOW, ABOVE = 0.1, 0.9


class Bounds(NamedTuple):
    """A gate outside of these is saturated."""

    below: float = BELOW
    above: float = ABOVE


@dataclass(frozen=True)
class GateSeries:
    """One forget gate of one layer: shares over channels, cells with a value, and windows."""

    layer: int
    memory: str
    """What it keeps, as in the equations; of an attachment with its place."""
    near_zero: tuple[float, ...]
    """Share below the lower bound, by step."""
    near_one: tuple[float, ...]
    """Share above the upper bound, by step."""
    mean: tuple[float, ...]
    """Mean value, by step."""
    always: float
    """Share that is saturated at every step of a window."""
    counted: int
    """Gates counted at a step: channels times cells times windows."""
    steps: tuple[int, ...]
    """Numbers, from 0, of the steps in which it acts."""

    @property
    def saturated(self) -> tuple[float, ...]:
        """Share that is saturated, by step."""
        return tuple(zero + one for zero, one in zip(self.near_zero, self.near_one, strict=True))

    @property
    def saturated_mean(self) -> float:
        """Mean over the steps."""
        return sum(self.saturated) / len(self.saturated)


class GateCounter:
    """Adds up the gates of window after window.

    Args:
        bounds: what counts as saturated.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._sums: dict[tuple[int, str], dict[int, Tensor]] = {}
        self._always: dict[tuple[int, str], float] = {}

    def add(self, steps: Sequence[Step], valid: Tensor) -> None:
        """Count the gates of one window.

        Args:
            steps: of the window.
            valid: ``H W`` in patches, which of them hold a cell with a value; the others are not counted.
        """
        ever_open: dict[tuple[int, str], Tensor] = {}
        for number, step in enumerate(steps):
            for kept in step.gates:
                key = kept.place.layer, _label(kept)
                values = kept.kept[..., valid].to(torch.float64)
                zero, one = values < self.bounds.below, values > self.bounds.above
                sums = torch.stack(
                    [zero.sum(), one.sum(), values.sum(), torch.tensor(values.numel(), device=zero.device)]
                )
                by_step = self._sums.setdefault(key, {})
                by_step[number] = by_step[number] + sums if number in by_step else sums
                is_open = ~(zero | one)
                ever_open[key] = ever_open[key] | is_open if key in ever_open else is_open
        for key, opened in ever_open.items():
            self._always[key] = self._always.get(key, 0.0) + float((~opened).sum())

    def result(self) -> list[GateSeries]:
        """One series for each layer and gate, bottom to top."""
        return [self._series(*key) for key in sorted(self._sums)]

    def _series(self, layer: int, memory: str) -> GateSeries:
        by_step = self._sums[layer, memory]
        steps = tuple(sorted(by_step))
        zero, one, total, count = torch.stack([by_step[step] for step in steps], dim=1).cpu()
        return GateSeries(
            layer=layer,
            memory=memory,
            near_zero=tuple((zero / count).tolist()),
            near_one=tuple((one / count).tolist()),
            mean=tuple((total / count).tolist()),
            always=self._always[layer, memory] / float(count[0]),
            counted=int(count[0]),
            steps=steps,
        )


def saturation_of(series: Sequence[GateSeries], memory: str) -> tuple[float, float]:
    """Shares of all gates of one memory, over all layers: saturated on the mean of the steps, and at every step."""
    chosen = [one for one in series if one.memory == memory]
    counted = sum(one.counted for one in chosen)
    mean = sum(one.saturated_mean * one.counted for one in chosen) / counted
    return mean, sum(one.always * one.counted for one in chosen) / counted


def memories(series: Sequence[GateSeries]) -> tuple[str, ...]:
    """Names of the memories, in the order of their first layer."""
    return tuple(dict.fromkeys(one.memory for one in series))


def _label(kept: Kept) -> str:
    attached = kept.place.attached
    return kept.memory if attached is None else f"{kept.memory} ({attached})"
