"""The losses of one forecast: of a trained recipe with all its seeds, or of a baseline.

Axes: ``S`` seeds, ``T`` test windows, ``K`` columns: the mean over all lead times, then each lead time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stkit.evaluate.metric import Array, ratio


@dataclass(frozen=True)
class Sample:
    """Losses on the same windows and cells as those of any sample it is compared with."""

    loss: Array
    """``S T K``; 0 where nothing counts."""
    weight: Array
    """``T K``: of each window; 0 where nothing counts."""

    @classmethod
    def of(cls, loss: Array, weight: Array) -> Sample:
        """From losses ``S T L`` by lead time (NaN where nothing counts) and their weights ``T L``."""
        known = np.where(weight > 0, loss, 0.0)
        together = weight.sum(axis=-1, keepdims=True)
        mean = ratio((weight * known).sum(axis=-1, keepdims=True), np.broadcast_to(together, (*loss.shape[:-1], 1)))
        return cls(
            np.concatenate([np.nan_to_num(mean), known], axis=-1),
            np.concatenate([together, weight], axis=-1),
        )

    @property
    def seeds(self) -> int:
        """How many training runs; 1 for a baseline."""
        return len(self.loss)

    @cached_property
    def means(self) -> Array:
        """``S K``: the score of each seed, pooled over the windows; NaN where no window counts."""
        total = np.broadcast_to(self.weight.sum(axis=0), (self.seeds, self.weight.shape[1]))
        return ratio((self.weight * self.loss).sum(axis=1), total)

    @cached_property
    def departures(self) -> Array:
        """``S T K``: what each window adds to the seed's score, ``w (loss - mean) / mean of w``; their mean is 0."""
        weight = np.nan_to_num(ratio(self.weight, np.broadcast_to(self.weight.mean(axis=0), self.weight.shape)))
        return np.asarray(weight * (self.loss - np.nan_to_num(self.means)[:, None]))
