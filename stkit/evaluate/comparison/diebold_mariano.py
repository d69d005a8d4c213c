"""The test of Diebold and Mariano, as a cross-check."""

from __future__ import annotations

import math

import numpy as np

from stkit.evaluate.metric import Array


def diebold_mariano(differences: Array, overlap: int) -> float | None:
    """Two-sided p-value of equal expected loss, or None where its variance estimate is not positive.

    Diebold and Mariano (1995): the mean difference by the root of ``(g0 + 2 (g1 + ... + g(h-1))) / n``, with the
    autocovariances ``g`` up to where forecasts of ``h`` steps overlap. Harvey, Leybourne and Newbold (1997): times the
    root of ``(n + 1 - 2h + h (h - 1) / n) / n``, against Student's t with ``n - 1`` degrees of freedom.

    Args:
        differences: of the losses, one for each start, in order.
        overlap: ``h``, in starts.
    """
    from scipy.stats import t as student

    count = len(differences)
    if count <= overlap or count < 2:
        return None
    mean = float(np.mean(differences))
    centred = np.asarray(differences) - mean
    covariances = [float(centred[lag:] @ centred[: count - lag]) / count for lag in range(overlap)]
    variance = (covariances[0] + 2 * math.fsum(covariances[1:])) / count
    factor = (count + 1 - 2 * overlap + overlap * (overlap - 1) / count) / count
    if variance <= 0 or factor <= 0:
        return None
    return float(2 * student.sf(abs(mean) * math.sqrt(factor / variance), count - 1))
