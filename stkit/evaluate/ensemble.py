"""Scores of ensembles: fair CRPS, spread against skill, ranks and reliability. A single forecast is one of one member.

Axes: ``M`` members, ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of a
score.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from stkit.evaluate.event import Event
from stkit.evaluate.metric import Array, Comparison, Curve, Metric, Training, ratio
from stkit.evaluate.metric_config import ThresholdConfig
from stkit.plugin.config import ComponentConfig

_SPACE = (3, 4)
_MOST_RANKS = 51
"""Places of a rank histogram: one more than the members that it can hold."""
_PROBABILITIES = 11
"""Bins of a reliability diagram: 0, 0.1, ... 1, each the nearest."""


class ContinuousRankedProbabilityScore(Metric):
    """The fair CRPS (Ferro 2014): what it expects does not depend on how many members there are."""

    label = "CRPS"
    convention = (
        "fair continuous ranked probability score of the members, mean over the counted cells of all windows, weighted "
        "by the cosine of latitude where there is one; of a single forecast it is the mean absolute error"
    )
    better = "lower"
    unit = "{u}"
    statistics = 2

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        weights = comparison.counted * comparison.weights
        members = _members(comparison)
        count = len(members)
        error = np.abs(members - _truth(comparison)).mean(axis=0)
        if count > 1:
            # Mean distance of two members, from their order: each is above so many and below the others.
            place = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, 1, 1, 1, 1, 1)
            error = error - (place * np.sort(members, axis=0)).sum(axis=0) / (count * (count - 1))
        return np.stack([(weights * error).sum(axis=_SPACE), weights.sum(axis=_SPACE)], axis=1)

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        return ratio(sums[0], sums[1])


class SpreadSkill(Metric):
    """Whether the members differ as much as they err (Fortin et al. 2014, with the factor for few members)."""

    label = "spread / skill"
    convention = (
        "root of the mean variance of the members, times the root of (members + 1) / members, over the RMSE of their "
        "mean; one where the ensemble is as uncertain as it should be; not defined for a single forecast"
    )
    better = "one"
    unit = "1"
    statistics = 2
    bounds = (0.0, math.inf)

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        weights = comparison.counted * comparison.weights
        members = _members(comparison)
        count = len(members)
        square = np.square(members.mean(axis=0) - _truth(comparison))
        spread = members.var(axis=0, ddof=1) * (count + 1) / count if count > 1 else np.zeros_like(square)
        return np.stack([(weights * values).sum(axis=_SPACE) for values in (spread, square)], axis=1)

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        found = np.sqrt(ratio(sums[0], sums[1]))
        return np.where(sums[0] > 0, found, np.nan)


class RankHistogram(Metric):
    """How often the truth lies below all members, between the first two, ..., above all of them.

    Where members equal the truth, as in fields that are mostly zero, its rank is spread over the places they take.
    """

    label = "unevenness of ranks"
    convention = (
        "departure of the rank histogram from a flat one: mean over the ranks of (share x ranks - 1) squared; 0 where "
        "the truth is like a member; not weighted; not defined for a single forecast"
    )
    better = "lower"
    unit = "1"
    statistics = _MOST_RANKS + 2

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        members, truth = _members(comparison), _truth(comparison)
        count = min(len(members), _MOST_RANKS - 1)
        below = (members[:count] < truth).sum(axis=0)
        equal = (members[:count] == truth).sum(axis=0)
        found = np.zeros((len(truth), self.statistics, *truth.shape[1:3]))
        for rank in range(count + 1):
            inside = comparison.counted & (below <= rank) & (rank <= below + equal)
            found[:, rank] = (inside / (equal + 1)).sum(axis=_SPACE)
        found[:, -2] = comparison.counted.any(axis=_SPACE)
        found[:, -1] = (count + 1) * found[:, -2]
        return found

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        shares, ranks = self._shares(sums)
        if ranks < 3:
            return np.full(sums.shape[1:], np.nan)
        return np.asarray(np.square(shares * ranks - 1).mean(axis=0))

    def curve(self, sums: Array) -> Curve | None:
        """See :meth:`Metric.curve`: the share of each rank."""
        shares, ranks = self._shares(sums)
        if ranks < 3:
            return None
        return Curve("members below the truth", tuple(float(rank) for rank in range(ranks)), {"share": shares})

    def _shares(self, sums: Array) -> tuple[Array, int]:
        """The share of each rank, and how many ranks there are."""
        windows = sums[-2].max()
        ranks = round(float(sums[-1].max() / windows)) if windows else 0
        total = np.broadcast_to(sums[:-2].sum(axis=0), (ranks, *sums.shape[1:]))
        return ratio(sums[:ranks], total), ranks


class Reliability(Metric):
    """How often an event is observed for each probability with which it was forecast, and the Brier score of that."""

    better = "lower"
    unit = "1"
    statistics = 3 * _PROBABILITIES + 2
    score_statistics = 2
    bounds = (0.0, 1.0)

    def __init__(self, event: Event) -> None:
        self.event = event
        self.label = f"Brier score {event.label}"
        self.convention = (
            "Brier score of the share of members that have the event, mean over the counted cells of all windows, "
            f"weighted by the cosine of latitude where there is one; {event.convention}; its curve is the reliability"
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
        weights = self.event.counted(comparison) * comparison.weights
        probability = np.mean([self.event.of(member, comparison) for member in _members(comparison)], axis=0)
        observed = self.event.of(comparison.truth, comparison)
        place = np.rint(probability * (_PROBABILITIES - 1))
        found = []
        for number in range(_PROBABILITIES):
            inside = weights * (place == number)
            found += [(inside * values).sum(axis=_SPACE) for values in (1.0, probability, observed)]
        brier = (weights * np.square(probability - observed)).sum(axis=_SPACE)
        return np.stack([brier, weights.sum(axis=_SPACE), *found], axis=1)

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        return self.event.only_meant(ratio(sums[0], sums[1]))

    def curve(self, sums: Array) -> Curve | None:
        """See :meth:`Metric.curve`: for each bin of probability its mean, how often the event came, and its weight."""
        weight, probability, observed = (sums[start::3] for start in (2, 3, 4))
        lines = {
            "forecast probability": ratio(probability, weight),
            "observed frequency": ratio(observed, weight),
            "share of forecasts": ratio(weight, np.broadcast_to(sums[1], weight.shape)),
        }
        places = tuple(number / (_PROBABILITIES - 1) for number in range(_PROBABILITIES))
        return Curve("forecast probability", places, lines)


def _members(comparison: Comparison) -> Array:
    """``M B L C H W``; 0 where a cell does not count, so that nothing that is missing is reckoned with."""
    members = comparison.forecast[None] if comparison.members is None else comparison.members
    return np.where(comparison.counted, members, 0.0)


def _truth(comparison: Comparison) -> Array:
    return np.where(comparison.counted, comparison.truth, 0.0)
