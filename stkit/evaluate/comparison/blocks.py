"""Series that are correlated in time: blocks of test windows, and the variance of a mean.

Axes: ``T`` test windows in the order of their starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from stkit.evaluate.metric import Array

FEWEST_BLOCKS = 5
"""With fewer, a block bootstrap has nothing to resample, and no interval is given."""
_LARGEST_CORRELATION = 0.95


def windows_of_block(starts: Sequence[int], steps: int) -> int:
    """How many consecutive windows a block has so that it is ``steps`` time steps long, wherever it begins.

    Args:
        starts: number of each window's first time step.
        steps: input and output steps of a window: windows further apart share no time step.
    """
    ordered = np.sort(np.asarray(starts))
    return max(1, int((np.searchsorted(ordered, ordered + steps) - np.arange(len(ordered))).max(initial=1)))


def correlation(series: Array) -> float:
    """Correlation of neighbours in a series ``T``, between 0 and 0.95.

    The estimate of a short series is too small by ``(1 + 3 phi) / T`` (Kendall 1954); that is put right. A negative
    correlation counts as none, which errs on the cautious side.
    """
    centred = series - series.mean()
    total = float((centred**2).sum())
    count = len(series)
    if total <= 0 or count < 4:
        return 0.0
    found = float((centred[1:] * centred[:-1]).sum()) / total
    return min(max((count * found + 1) / (count - 3), 0.0), _LARGEST_CORRELATION)


def correlation_time(phi: float) -> float:
    """Neighbours that are worth as much as one independent value, ``(1 + phi) / (1 - phi)``, of an AR(1) series."""
    return (1 + phi) / (1 - phi)


def mean_variance(series: Array, length: int, phi: float = 0.0) -> Array:
    """Variance of the mean of a series ``... T``, from the means of its circular blocks.

    With ``B_i`` the mean of ``length`` consecutive values from ``i`` on (round the end), the block bootstrap's variance
    of the mean is ``length / T`` times the mean of ``(B_i - B)^2`` (Künsch 1989; Politis and Romano 1992). It is too
    small, because blocks are short and few. So it is scaled until its expectation is right for a series whose
    correlation falls as ``phi^k``: the factor is ``V(T) / (V(length) - V(T))`` in place of ``length / T``, where
    ``V(n)`` is the variance of the mean of ``n`` such values.

    Args:
        series: any number of series.
        length: values in a block.
        phi: correlation of neighbours.
    """
    count = series.shape[-1]
    centred = series - series.mean(axis=-1, keepdims=True)
    ring = np.concatenate([centred, centred[..., : length - 1]], axis=-1)
    sums = np.cumsum(np.concatenate([np.zeros((*ring.shape[:-1], 1)), ring], axis=-1), axis=-1)
    means = (sums[..., length:] - sums[..., :-length]) / length
    scale = _variance_of_mean(phi, count) / (_variance_of_mean(phi, length) - _variance_of_mean(phi, count))
    return np.asarray(scale * (means**2).mean(axis=-1))


@lru_cache(maxsize=4096)
def _variance_of_mean(phi: float, count: int) -> float:
    """Variance of the mean of ``count`` values of variance 1 whose correlation falls as ``phi^k``."""
    # The sum over k of (1 - k / n) phi^k in closed form.
    geometric = phi * (1 - phi**count) / (1 - phi) ** 2
    total = phi * count / (1 - phi) - geometric
    return (1 + 2 * total / count) / count


def resampled_counts(count: int, length: int, replicates: int, generator: np.random.Generator) -> Array:
    """How often each window occurs in each resample by circular blocks, ``replicates T``; each row sums to ``T``."""
    blocks = math.ceil(count / length)
    first = generator.integers(count, size=(replicates, blocks, 1))
    drawn = ((first + np.arange(length)) % count).reshape(replicates, -1)[:, :count]
    flat = drawn + count * np.arange(replicates)[:, None]
    return np.bincount(flat.ravel(), minlength=replicates * count).reshape(replicates, count).astype(np.float64)
