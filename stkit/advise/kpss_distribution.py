"""P-values of the KPSS test beyond its table.

The published table (Kwiatkowski, Phillips, Schmidt and Shin 1992, J. Econometrics 54, 159-178) ends at 1 and 10 per
cent, too coarse to control false finds among hundreds of cells. The limit of the statistic under stationarity is the
integral of a squared Brownian bridge, of the second level where a trend is fitted, and so a weighted sum of squared
standard normal numbers (MacNeill 1978, Ann. Stat. 6, 422-433)::

    level:  sum_j  N_j^2 / (pi j)^2
    trend:  sum_j  N_j^2 / (2 pi j)^2  +  sum_j  M_j^2 / (2 z_j)^2      z_j > 0 with tan z_j = z_j

Its distribution function is had by inverting the characteristic function (Imhof 1961, Biometrika 48, 419-426), and far
out from the largest weight alone.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Regression = Literal["c", "ct"]
"""As statsmodels names them: about a level, about a trend."""

_TERMS = 400
_FAR_OUT = 1e-5
"""Below this p-value the contribution of the largest weight is all that is left."""
_STATISTICS = {"c": (0.01, 3.0), "ct": (0.008, 1.0)}
"""Range in which p-values are tabulated; below it they are 1."""
_POINTS = 160
_MEANS = {"c": 1.0 / 6.0, "ct": 1.0 / 15.0}
_STEP, _STEPS = 0.5, 16_000
"""Of the integral, whose integrand is below 1e-12 from 8000 on."""


def p_value(statistic: NDArray[np.float64], regression: Regression) -> NDArray[np.float64]:
    """Chance of a statistic at least as large where the series is stationary about a level or a trend."""
    places, logarithms = _table(regression)
    inside = np.exp(np.interp(statistic, places, logarithms))
    low, high = places[0], places[-1]
    return np.asarray(np.where(statistic < low, 1.0, np.where(statistic > high, _tail(statistic, regression), inside)))


@cache
def _table(regression: Regression) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Statistics and logarithms of their p-values."""
    places = np.geomspace(*_STATISTICS[regression], _POINTS)
    values = _inverted(places, regression)
    values = np.where(values < _FAR_OUT, _tail(places, regression), values)
    return places, np.log(np.clip(values, np.finfo(np.float64).tiny, 1.0))


@cache
def _weights(regression: Regression) -> NDArray[np.float64]:
    """The largest weights, falling; their sum is 1/6 for a level and 1/15 for a trend."""
    numbers = np.arange(1, _TERMS + 1)
    if regression == "c":
        return np.asarray((np.pi * numbers) ** -2.0)
    roots = np.pi * (numbers + 0.5)
    for _ in range(20):  # tan z = z lies just below (j + 1/2) pi
        roots = np.pi * numbers + np.arctan(roots)
    return np.sort(np.concatenate([1.0 / (2 * np.pi * numbers) ** 2, 1.0 / (2 * roots) ** 2]))[::-1]


def _inverted(places: NDArray[np.float64], regression: Regression) -> NDArray[np.float64]:
    """``1/2 + 1/pi int sin(theta(u)) / (u rho(u)) du`` by the midpoint rule, exact but for chances beyond 4 pi / step.

    Davies 1973, Biometrika 60, 415-417. The weights that are left out stand as their sum.
    """
    weights = _weights(regression)
    left_out = _MEANS[regression] - float(weights.sum())
    u = _STEP * (np.arange(_STEPS) + 0.5)
    angle, decay = np.zeros_like(u), np.zeros_like(u)
    for weight in weights:
        angle += 0.5 * np.arctan(weight * u)
        decay += 0.25 * np.log1p((weight * u) ** 2)
    share = np.exp(-decay) / u
    sums = [float((np.sin(angle + 0.5 * (left_out - place) * u) * share).sum()) for place in places]
    return np.clip(0.5 + np.array(sums) * _STEP / np.pi, 0.0, 1.0)


def _tail(statistic: NDArray[np.float64], regression: Regression) -> NDArray[np.float64]:
    """``prod_{j>1} (1 - w_j / w_1)^(-1/2) P(w_1 N^2 > x)``: what the sum is far out (Zolotarev 1961)."""
    from scipy.stats import chi2

    weights = _weights(regression)
    factor = float(np.prod(1.0 / np.sqrt(1.0 - weights[1:] / weights[0])))
    return np.asarray(factor * chi2.sf(statistic / weights[0], 1))
