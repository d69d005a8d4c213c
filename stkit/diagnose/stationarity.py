"""How stationary what a model carries is: hidden states, their differences, and what MIM-N makes of them.

Memory In Memory (Wang et al. 2019) takes differences of hidden states so that what is left is easier to predict. Three
numbers say whether it is: the share of the variance in time that a straight line explains (a drifting level), the
correlation of neighbouring steps (near 1: close to a random walk) and the variance itself.

Axes: ``T`` steps, ``N`` elements (channels times cells).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stkit.diagnose.recorder import Step

HIDDEN, DIFFERENCE, READ, MADE = "H", "dH", "read by MIM-N", "D of MIM-N"
_FEWEST_STEPS = 3


class Drift(NamedTuple):
    """Of one signal in one window; all elements pooled."""

    trend_share: float
    """Share of the variance in time that a straight line explains, between 0 and 1."""
    lag1: float
    """Correlation of neighbouring steps."""
    variance: float
    """Mean variance in time."""


@dataclass(frozen=True)
class SignalDrift:
    """One signal of one layer: means over windows."""

    layer: int
    signal: str
    trend_share: float
    lag1: float
    variance: float
    windows: int


@dataclass(frozen=True)
class Comparison:
    """What MIM-N of one layer makes of what it reads: made minus read, window by window."""

    layer: int
    trend_share: float
    trend_share_error: float | None
    """Standard error over the windows, as if they had nothing in common; None for a single one."""
    lag1: float
    lag1_error: float | None
    variance_ratio: float
    """Variance in time of what it makes over that of what it reads."""

    @property
    def verdict(self) -> str:
        """``more``, ``less``, ``about as`` or ``more or less`` stationary: what both numbers say beyond two errors."""
        found = {_sign(self.trend_share, self.trend_share_error), _sign(self.lag1, self.lag1_error)} - {0}
        if not found:
            return "about as"
        return "more or less" if len(found) > 1 else "more" if found == {-1} else "less"


def drift(series: Tensor) -> Drift | None:
    """The numbers of a series ``T N``; None if it has fewer than three steps or does not vary."""
    steps = series.shape[0]
    if steps < _FEWEST_STEPS:
        return None
    x = series.to(torch.float64)
    x = x - x.mean(dim=0)
    total = x.square().sum()
    if not total > 0:
        return None
    time = torch.arange(steps, dtype=torch.float64, device=x.device)
    time = time - time.mean()
    explained = (time @ x).square().sum() / time.square().sum()
    return Drift(
        float(explained / total), float((x[1:] * x[:-1]).sum() / total), float(total / ((steps - 1) * x.shape[1]))
    )


def of_white_noise(steps: int) -> tuple[float, float]:
    """Trend share and lag-1 correlation to expect of ``steps`` values that have nothing to do with each other.

    Not 0: a line always explains something of a short series, and its own mean is taken off.
    """
    return 1 / (steps - 1), -1 / steps


class DriftCollector:
    """Takes the steps of window after window.

    Args:
        layers: numbers of the layers whose hidden states are looked at.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = tuple(layers)
        self.steps = 0
        """Steps of each series."""
        self._found: dict[tuple[int, str], list[Drift]] = {}
        self._pairs: dict[int, list[tuple[Drift, Drift]]] = {}

    def add(self, steps: Sequence[Step], valid: Tensor) -> None:
        """Take one window. The first step is left out: before it there is nothing to take a difference from.

        Args:
            steps: of the window.
            valid: ``H W`` in patches, which of them hold a cell with a value; the others are not counted.
        """
        self.steps = len(steps) - 1
        for layer in self.layers:
            hidden = _series([step.hidden[layer - 1] for step in steps], valid)
            self._keep(layer, HIDDEN, drift(hidden[1:]))
            self._keep(layer, DIFFERENCE, drift(hidden.diff(dim=0)))
        for place in dict.fromkeys(one.place for step in steps for one in step.signals):
            both = [one for step in steps[1:] for one in step.signals if one.place == place]
            read, made = drift(_series([b.read for b in both], valid)), drift(_series([b.made for b in both], valid))
            self._keep(place.layer, READ, read)
            self._keep(place.layer, MADE, made)
            if read is not None and made is not None:
                self._pairs.setdefault(place.layer, []).append((read, made))

    def result(self) -> list[SignalDrift]:
        """Means over the windows, bottom to top."""
        order = (HIDDEN, DIFFERENCE, READ, MADE)
        found = []
        for layer, signal in sorted(self._found, key=lambda key: (key[0], order.index(key[1]))):
            windows = self._found[layer, signal]
            trend, lag1, variance = (sum(column) / len(column) for column in zip(*windows, strict=True))
            found.append(SignalDrift(layer, signal, trend, lag1, variance, len(windows)))
        return found

    def comparisons(self) -> list[Comparison]:
        """What each MIM-N makes of what it reads, bottom to top."""
        found = []
        for layer, pairs in sorted(self._pairs.items()):
            trend = _mean_and_error([made.trend_share - read.trend_share for read, made in pairs])
            lag1 = _mean_and_error([made.lag1 - read.lag1 for read, made in pairs])
            ratio = sum(made.variance for _, made in pairs) / sum(read.variance for read, _ in pairs)
            found.append(Comparison(layer, *trend, *lag1, ratio))
        return found

    def _keep(self, layer: int, signal: str, found: Drift | None) -> None:
        if found is not None:
            self._found.setdefault((layer, signal), []).append(found)


def _series(fields: Sequence[Tensor], valid: Tensor) -> Tensor:
    """``T N`` from fields ``1 C *grid``."""
    return torch.stack([field[0][..., valid].flatten() for field in fields])


def _mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def _sign(mean: float, error: float | None) -> int:
    """-1 or 1 beyond two standard errors, else 0."""
    if error is None or abs(mean) <= 2 * error:
        return 0
    return 1 if mean > 0 else -1
