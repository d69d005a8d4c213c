"""What one forecast's score is made of, window by window: of a trained recipe with all its seeds, or of a baseline.

Axes: ``S`` seeds, ``T`` test windows, ``K`` columns (all lead times together, then each lead time), ``N`` statistics of
the score, which add up over windows and lead times, ``R`` resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stkit.evaluate.metric import Array, Metric, ratio

Pooled = Callable[[Array], Array]
"""From added statistics ``N K`` to the score ``K``, each by itself; NaN where it is not defined."""

_STEP = 1e-3
"""How much more or less a window counts, as a share of the mean window, to see what it does to the score."""


def mean(sums: Array) -> Array:
    """A weighted mean: the first statistic over the second."""
    return ratio(sums[0], sums[1])


def pooled(metric: Metric, channel: int, channels: int) -> Pooled:
    """The score of one of several variables as a function of its statistics alone."""

    def score(sums: Array) -> Array:
        every = np.broadcast_to(sums[..., None], (*sums.shape, channels))
        return np.asarray(metric.score(every)[..., channel])

    return score


@dataclass(frozen=True)
class Sample:
    """A forecast's statistics on the same windows as those of any sample that it is compared with."""

    statistics: Array
    """``S N T K``; 0 where nothing counts."""
    score: Pooled = mean

    @classmethod
    def of(cls, loss: Array, weight: Array) -> Sample:
        """A mean loss, from losses ``S T L`` by lead time (NaN where nothing counts) and their weights ``T L``."""
        known = np.where(weight > 0, loss, 0.0)
        return cls.of_sums(np.stack([weight * known, np.broadcast_to(weight, known.shape)], axis=1))

    @classmethod
    def of_sums(cls, sums: Array, score: Pooled = mean) -> Sample:
        """Any score, from its statistics ``S N T L`` by lead time."""
        return cls(np.concatenate([sums.sum(axis=-1, keepdims=True), sums], axis=-1), score)

    @property
    def seeds(self) -> int:
        """How many training runs; 1 for a baseline."""
        return len(self.statistics)

    @property
    def windows(self) -> int:
        """How many windows."""
        return int(self.statistics.shape[2])

    @cached_property
    def means(self) -> Array:
        """``S K``: the score of each seed, pooled over the windows; NaN where no window counts."""
        return np.stack([self.score(sums) for sums in self.statistics.sum(axis=2)])

    @cached_property
    def departures(self) -> Array:
        """``S T K``: what each window adds to the seed's score, to first order; their mean is 0.

        Of a mean it is ``w (loss - mean) / mean of w``.
        """
        middle = self.statistics.mean(axis=2, keepdims=True)
        step = _STEP / self.windows  # no statistic changes by more than a thousandth, or its sign
        found = np.empty((self.seeds, *self.statistics.shape[2:]))
        for seed, towards in enumerate(step * (self.statistics - middle)):
            more, less = (self._flat(middle[seed] + sign * towards) for sign in (1, -1))
            found[seed] = (more - less) / (2 * step)
        return np.nan_to_num(found)

    def resampled(self, counts: Array, seed: int) -> Array:
        """``R K``: the score of one seed on resampled windows, of which ``counts`` (``R T``) says how many of each."""
        return self._flat(np.stack([counts @ sums for sums in self.statistics[seed]]))

    def _flat(self, sums: Array) -> Array:
        """The scores of statistics ``N ... K``."""
        return self.score(sums.reshape(len(sums), -1)).reshape(sums.shape[1:])
