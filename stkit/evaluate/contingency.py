"""Scores of events from pooled contingency counts: CSI, POD, FAR, HSS and frequency bias.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of the score.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from stkit.evaluate.event import Event
from stkit.evaluate.metric import Array, Comparison, Metric, Training, ratio
from stkit.evaluate.metric_config import PooledConfig, ThresholdConfig
from stkit.plugin.config import ComponentConfig

OBSERVED = "observed events"
Number = TypeVar("Number", np.bool_, np.float64)


class _Contingency(Metric):
    """A score of counts that are added over all cells and windows before anything is divided.

    The statistics are the area-weighted hits, false alarms, misses and correct negatives, and the plain number of
    observed events.
    """

    statistics = 5
    score_statistics = 4
    bounds = (0.0, 1.0)
    unit = "1"
    short: str
    made: str

    def __init__(self, event: Event) -> None:
        self.event = event
        self.label = f"{self.short} {event.label}"
        self.convention = (
            f"{self.made}, from counts pooled over the counted cells of all windows, weighted by the cosine of "
            f"latitude where there is one; {event.convention}; not defined where that is 0/0"
        )
        self.needs_climatology = event.percent is not None

    @classmethod
    def from_config(cls, config: ComponentConfig) -> Self:
        """See :meth:`Metric.from_config`."""
        assert isinstance(config, ThresholdConfig)
        return cls(Event(config))

    def fit(self, training: Training) -> None:
        """See :meth:`Metric.fit`."""
        self.event.fit(training)

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        return contingency(
            self.event.of(comparison.forecast, comparison),
            self.event.of(comparison.truth, comparison),
            self.event.counted(comparison),
            comparison.weights,
        )

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        hits, alarms, misses, rest = sums[:4]
        return self.event.only_meant(self._of_counts(hits, alarms, misses, rest))

    def beside(self, sums: Array) -> Mapping[str, Array]:
        """See :meth:`Metric.beside`."""
        return {OBSERVED: self.event.only_meant(sums[4])}

    @staticmethod
    @abstractmethod
    def _of_counts(hits: Array, alarms: Array, misses: Array, rest: Array) -> Array: ...


class CriticalSuccessIndex(_Contingency):
    """Hits as a share of everything that was forecast or observed."""

    short = "CSI"
    made = "critical success index, hits / (hits + misses + false alarms)"
    better = "higher"

    @staticmethod
    def _of_counts(hits: Array, alarms: Array, misses: Array, rest: Array) -> Array:
        return ratio(hits, hits + misses + alarms)


class ProbabilityOfDetection(_Contingency):
    """Hits as a share of what was observed."""

    short = "POD"
    made = "probability of detection, hits / (hits + misses)"
    better = "higher"

    @staticmethod
    def _of_counts(hits: Array, alarms: Array, misses: Array, rest: Array) -> Array:
        return ratio(hits, hits + misses)


class FalseAlarmRatio(_Contingency):
    """False alarms as a share of what was forecast. Not the rate, which is a share of the non-events."""

    short = "FAR"
    made = "false alarm ratio, false alarms / (hits + false alarms)"
    better = "lower"

    @staticmethod
    def _of_counts(hits: Array, alarms: Array, misses: Array, rest: Array) -> Array:
        return ratio(alarms, hits + alarms)


class HeidkeSkillScore(_Contingency):
    """Correct forecasts beyond those of chance, as a share of what chance leaves (Wilks 2019, section 8.2)."""

    short = "HSS"
    made = "Heidke skill score, the share of correct forecasts beyond chance"
    better = "higher"
    bounds = (-1.0, 1.0)

    @staticmethod
    def _of_counts(hits: Array, alarms: Array, misses: Array, rest: Array) -> Array:
        chance = (hits + misses) * (misses + rest) + (hits + alarms) * (alarms + rest)
        return ratio(2 * (hits * rest - alarms * misses), chance)


class FrequencyBias(_Contingency):
    """How often an event is forecast for each time that it is observed."""

    short = "frequency bias"
    made = "frequency bias, (hits + false alarms) / (hits + misses)"
    better = "one"
    bounds = (0.0, math.inf)

    @staticmethod
    def _of_counts(hits: Array, alarms: Array, misses: Array, rest: Array) -> Array:
        return ratio(hits + alarms, hits + misses)


class PooledCriticalSuccessIndex(CriticalSuccessIndex):
    """The CSI of the largest values in blocks of cells: a small displacement is forgiven."""

    def __init__(self, event: Event, pool: int) -> None:
        super().__init__(event)
        self.pool = pool
        self.label = f"CSI of {pool} x {pool} maxima {event.label}"
        self.convention = (
            f"{self.convention}; a block of {pool} x {pool} cells, from the first row and column on, has an event "
            "where one of its counted cells has"
        )

    @classmethod
    def from_config(cls, config: ComponentConfig) -> Self:
        """See :meth:`Metric.from_config`."""
        assert isinstance(config, PooledConfig)
        assert isinstance(config.pool, int)
        return cls(Event(config), config.pool)

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        return contingency(
            self._pooled(self.event.of(comparison.forecast, comparison)),
            self._pooled(self.event.of(comparison.truth, comparison)),
            self._pooled(self.event.counted(comparison)),
            blocks(comparison.weights, self.pool).max(axis=(-1, -2)),
        )

    def _pooled(self, cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(blocks(cells, self.pool).any(axis=(-1, -2)))


def contingency(
    forecast: NDArray[np.bool_], truth: NDArray[np.bool_], counted: NDArray[np.bool_], weights: Array
) -> Array:
    """Hits, false alarms, misses, correct negatives (weighted) and observed events of each window: ``B 5 L C``."""
    table = (forecast & truth, forecast & ~truth, ~forecast & truth, ~forecast & ~truth)
    weighted = [((cells & counted) * weights).sum(axis=(3, 4)) for cells in table]
    observed = (truth & counted).sum(axis=(3, 4)).astype(np.float64)
    return np.stack([*weighted, observed], axis=1)


def blocks(cells: NDArray[Number], size: int) -> NDArray[Number]:
    """Square blocks ``... rows columns size size`` of ``... H W``; what is missing at the lower and right edge is 0."""
    height, width = cells.shape[-2:]
    rows, columns = -(-height // size), -(-width // size)
    margins = [(0, 0)] * (cells.ndim - 2) + [(0, rows * size - height), (0, columns * size - width)]
    padded = np.pad(cells, margins)
    return padded.reshape(*cells.shape[:-2], rows, size, columns, size).swapaxes(-2, -3)
