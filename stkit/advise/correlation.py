"""How long a field remembers: lag correlation and partial lag correlation of its anomalies.

Axes: ``T`` time, ``D`` cells, ``L`` lags from 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stkit.advise.false_discovery import adjusted

_LONGEST = 40
_SHARE_THAT_COUNTS = 0.25
"""A lag counts where it is significant in this share of the cells."""


@dataclass(frozen=True)
class Memory:
    """What the lags say.

    Attributes:
        correlation: ``L D``.
        partial: ``L D``, the correlation with the anomaly so many steps before that the steps between do not carry.
        significant: ``L``, share of the cells where the correlation differs from zero, false finds controlled.
        partly_significant: ``L``, the same for the partial one.
        folding: ``D``, steps in which the correlation falls to 1/e; NaN where it does not within the longest lag.
        overall_folding: the same for the mean correlation; None where it does not.
    """

    correlation: NDArray[np.float64]
    partial: NDArray[np.float64]
    significant: NDArray[np.float64]
    partly_significant: NDArray[np.float64]
    folding: NDArray[np.float64]
    overall_folding: float | None

    @property
    def lags(self) -> int:
        """``L``, the longest lag that was looked at."""
        return len(self.correlation)

    @property
    def significant_lags(self) -> int:
        """Lags from 1 on that are significant without a break."""
        return _run(self.significant)

    @property
    def direct_lags(self) -> int:
        """Lags from 1 on that say something of their own without a break: further back nothing is added."""
        return _run(self.partly_significant)


def remember(anomalies: NDArray[np.float64], false_share: float) -> Memory:
    """Correlations up to a quarter of the record, at most 40 steps.

    Args:
        anomalies: ``T D``, without level, trend and season.
        false_share: share of false finds that is allowed among the significant ones.
    """
    steps = len(anomalies)
    lags = max(2, min(_LONGEST, steps // 4))
    square = (anomalies**2).sum(axis=0)
    square = np.where(square > 0, square, 1.0)
    correlation = np.stack([(anomalies[lag:] * anomalies[:-lag]).sum(axis=0) / square for lag in range(1, lags + 1)])
    partial = _partial(correlation)
    folding = _folding(correlation)
    overall = float(_folding(correlation.mean(axis=1, keepdims=True))[0])
    return Memory(
        correlation=correlation,
        partial=partial,
        significant=_significant(correlation * np.sqrt(steps / _inflation(correlation)), false_share),
        partly_significant=_significant(partial * np.sqrt(steps), false_share),
        folding=folding,
        overall_folding=None if np.isnan(overall) else overall,
    )


def _partial(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The recursion of Levinson and Durbin for all cells at once."""
    lags, cells = correlation.shape
    out = np.zeros((lags, cells))
    weights = np.zeros((0, cells))
    for lag in range(lags):
        left = 1.0 - (weights * correlation[:lag]).sum(axis=0)
        new = (correlation[lag] - (weights * correlation[:lag][::-1]).sum(axis=0)) / np.maximum(left, 1e-12)
        out[lag] = np.clip(new, -1.0, 1.0)
        weights = np.concatenate([weights - out[lag] * weights[::-1], out[None, lag]])
    return out


def _inflation(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """``1 + 2 sum r_j^2`` over the shorter lags: variance of a correlation that is zero from there on, times ``T``.

    Bartlett 1946, Suppl. J. R. Stat. Soc. 8, 27-41. A partial correlation deviates by ``1 / sqrt(T)`` alone.
    """
    before = np.concatenate([np.zeros((1, correlation.shape[1])), correlation[:-1]])
    return np.asarray(1.0 + 2.0 * (before**2).cumsum(axis=0))


def _significant(scaled: NDArray[np.float64], false_share: float) -> NDArray[np.float64]:
    """Share of the cells at each lag whose correlation, in units of its standard deviation, is no chance."""
    from scipy.stats import norm

    p_values = 2.0 * norm.sf(np.abs(scaled))
    return np.asarray((adjusted(p_values) <= false_share).mean(axis=1))


def _folding(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each series first falls below 1/e, on straight lines between the lags."""
    threshold = np.exp(-1.0)
    whole = np.concatenate([np.ones((1, correlation.shape[1])), correlation])
    below = whole < threshold
    lag = below.argmax(axis=0)
    cells = np.arange(whole.shape[1])
    before, after = whole[lag - 1, cells], whole[lag, cells]
    place = lag - 1 + (before - threshold) / np.where(before > after, before - after, 1.0)
    return np.asarray(np.where(below.any(axis=0), place, np.nan))


def _run(shares: NDArray[np.float64]) -> int:
    counts = shares >= _SHARE_THAT_COUNTS
    return len(shares) if counts.all() else int(counts.argmin())
