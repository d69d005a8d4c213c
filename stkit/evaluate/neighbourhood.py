"""The fractions skill score: are there as many events in a neighbourhood, wherever in it.

Roberts and Lean (2008), Scale-Selective Verification of Rainfall Accumulations from High-Resolution Forecasts of
Convective Events, Monthly Weather Review 136.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stkit.evaluate.contingency import OBSERVED
from stkit.evaluate.event import Event
from stkit.evaluate.metric import Array, Comparison, Metric, Training, ratio
from stkit.evaluate.metric_config import FractionsConfig
from stkit.plugin.config import ComponentConfig

USEFUL = "useful from"


class FractionsSkillScore(Metric):
    """One minus the squared difference of the shares of events, over the largest that it could be.

    The statistics are the summed squared differences, the summed squares, the observed events and the counted cells.
    """

    statistics = 4
    score_statistics = 2
    bounds = (0.0, 1.0)
    better = "higher"
    unit = "1"

    def __init__(self, event: Event, scale: int) -> None:
        self.event = event
        self.scale = scale
        self.label = f"FSS of {scale} x {scale} cells {event.label}"
        self.convention = (
            f"fractions skill score for neighbourhoods of {scale} x {scale} cells, numerators and denominators summed "
            f"over the counted cells of all windows, not weighted; {event.convention}; cells outside the grid and "
            "cells that do not count have no event; useful from 0.5 + half the share of events"
        )
        self.needs_climatology = event.percent is not None

    @classmethod
    def from_config(cls, config: ComponentConfig) -> Self:
        """See :meth:`Metric.from_config`."""
        assert isinstance(config, FractionsConfig)
        assert isinstance(config.scale, int)
        return cls(Event(config), config.scale)

    def fit(self, training: Training) -> None:
        """See :meth:`Metric.fit`."""
        self.event.fit(training)

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        counted = self.event.counted(comparison)
        events = self.event.of(comparison.truth, comparison) & counted
        forecast = shares(self.event.of(comparison.forecast, comparison) & counted, self.scale)
        truth = shares(events, self.scale)
        space = (3, 4)
        return np.stack(
            [
                (counted * np.square(forecast - truth)).sum(axis=space),
                (counted * (np.square(forecast) + np.square(truth))).sum(axis=space),
                events.sum(axis=space).astype(np.float64),
                counted.sum(axis=space).astype(np.float64),
            ],
            axis=1,
        )

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        return self.event.only_meant(1.0 - ratio(sums[0], sums[1]))

    def beside(self, sums: Array) -> Mapping[str, Array]:
        """See :meth:`Metric.beside`."""
        useful = 0.5 + ratio(sums[2], sums[3]) / 2
        return {OBSERVED: self.event.only_meant(sums[2]), USEFUL: self.event.only_meant(useful)}


def shares(events: NDArray[np.bool_], scale: int) -> Array:
    """The share of events in the square around each cell: ``... H W``."""
    half = scale // 2
    margins = [(0, 0)] * (events.ndim - 2) + [(half + 1, half)] * 2
    # Running sums: their differences are the sums over the squares, whatever the scale.
    total = np.pad(events.astype(np.float64), margins).cumsum(axis=-1).cumsum(axis=-2)
    inside = total[..., scale:, scale:] - total[..., :-scale, scale:]
    return np.asarray((inside - total[..., scale:, :-scale] + total[..., :-scale, :-scale]) / scale**2)
