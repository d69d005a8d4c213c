"""Four verdicts on each cell by two tests that ask opposite questions.

The augmented Dickey-Fuller test (Said and Dickey 1984, Biometrika 71, 599-607) supposes a unit root and looks for
evidence against it; the KPSS test (Kwiatkowski et al. 1992) supposes that the series is stationary about a level or
about a trend and looks for evidence against that.

Axes: ``T`` time, ``D`` cells.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.advise.false_discovery import adjusted
from stkit.advise.kpss_distribution import Regression, p_value
from stkit.errors import UsageError

VERDICTS = ("stationary", "trend-stationary", "difference-stationary", "unclear")
"""By their number in :attr:`Tests.verdict`."""
MEANINGS: Mapping[str, str] = {
    "stationary": "level and spread about it stay",
    "trend-stationary": "it returns to a straight trend",
    "difference-stationary": "it wanders as a random walk does: only its changes are stationary",
    "unclear": "the tests contradict each other, or the record is too short for either to find anything",
}

_CELLS_FOR_THE_LAG = 9
_LARGEST_RATIO = 1e6


@dataclass(frozen=True)
class Findings:
    """What the tests find.

    Attributes:
        verdict: ``D``, number in :data:`VERDICTS`.
        unit_root: ``D``, adjusted p-value of the Dickey-Fuller test with level and trend.
        about_level: ``D``, adjusted p-value of the KPSS test about a level.
        about_trend: ``D``, adjusted p-value of the KPSS test about a trend.
        lags: lags of the Dickey-Fuller regression.
        spread: ``D``, variance of the innovations in the second half of the record over that in the first.
        spread_changes: ``D``, adjusted p-value of the test that the two are equal.
        false_share: share of false finds that is allowed among the finds of each test.
    """

    verdict: NDArray[np.int64]
    unit_root: NDArray[np.float64]
    about_level: NDArray[np.float64]
    about_trend: NDArray[np.float64]
    lags: int
    spread: NDArray[np.float64]
    spread_changes: NDArray[np.float64]
    false_share: float

    def share(self, verdict: str) -> float:
        """Share of the cells with a verdict."""
        return float((self.verdict == VERDICTS.index(verdict)).mean())

    @property
    def shares(self) -> dict[str, float]:
        """Of every verdict."""
        return {name: self.share(name) for name in VERDICTS}

    @property
    def silent(self) -> float:
        """Share of the cells where no test finds anything: neither against a unit root nor against a trend."""
        return float(((self.unit_root > self.false_share) & (self.about_trend > self.false_share)).mean())

    @property
    def changing_spread(self) -> float:
        """Share of the cells whose innovations have another variance in the second half of the record."""
        return float((self.spread_changes <= self.false_share).mean())

    @property
    def spread_ratio(self) -> float:
        """Variance of the innovations in the second half over that in the first, median of the cells."""
        return float(np.median(self.spread))

    @property
    def spread_words(self) -> str:
        """That ratio in words, to two significant figures."""
        times = f"{self.spread_ratio:.2g}"
        return "the same variance" if times == "1" else f"{times} times the variance"


def examine(values: NDArray[np.float64], anomalies: NDArray[np.float64], false_share: float) -> Findings:
    """Test every cell, false finds controlled in each family of tests.

    Args:
        values: ``T D``, without a season.
        anomalies: ``T D``, without level and trend, too.
        false_share: share of false finds that is allowed among the finds of each test.
    """
    lags = _dickey_fuller_lags(values)
    unit_root = adjusted(np.array([dickey_fuller(series, lags) for series in values.T]))
    about_level = adjusted(kpss(values, "c"))
    about_trend = adjusted(kpss(values, "ct"))
    spread, changes = _spread(anomalies)
    return Findings(
        verdict=decide(unit_root <= false_share, about_level <= false_share, about_trend <= false_share),
        unit_root=unit_root,
        about_level=about_level,
        about_trend=about_trend,
        lags=lags,
        spread=spread,
        spread_changes=adjusted(changes),
        false_share=false_share,
    )


def decide(
    no_unit_root: NDArray[np.bool_], no_level: NDArray[np.bool_], no_trend: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Verdicts from what the tests reject: a unit root, stationarity about a level, stationarity about a trend.

    Stationary: no unit root, and a level is not refuted. Trend-stationary: no unit root, a level is refuted, a trend is
    not. Difference-stationary: a unit root is not refuted, a trend is. Unclear: the rest.
    """
    stationary = no_unit_root & ~no_level
    trend = no_unit_root & no_level & ~no_trend
    difference = ~no_unit_root & no_trend
    return np.select([stationary, trend, difference], [0, 1, 2], 3)


def dickey_fuller(series: NDArray[np.float64], lags: int) -> float:
    """P-value of the augmented Dickey-Fuller test with level and trend (MacKinnon 1994, 2010)."""
    adfuller = _statsmodels("adfuller")
    with _quiet():
        found = adfuller(series, maxlag=lags, regression="ct", autolag=None, **_plain(adfuller))
    return float(np.nan_to_num(found[1], nan=1.0))


def kpss(values: NDArray[np.float64], regression: Regression) -> NDArray[np.float64]:
    """``D``: p-values of the KPSS test, lags of each series by Hobijn, Franses and Ooms (2004)."""
    test = _statsmodels("kpss")
    statistics = np.empty(values.shape[1])
    with _quiet():
        for cell, series in enumerate(values.T):
            statistics[cell] = test(series, regression=regression, nlags="auto", **_plain(test))[0]
    return p_value(statistics, regression)


def _dickey_fuller_lags(values: NDArray[np.float64]) -> int:
    """The lags by Akaike's criterion, the median of some cells: one number for all keeps the tests comparable."""
    adfuller = _statsmodels("adfuller")
    cells = np.unique(np.linspace(0, values.shape[1] - 1, _CELLS_FOR_THE_LAG).round().astype(int))
    with _quiet():
        found = [adfuller(values[:, cell], regression="ct", autolag="AIC", **_plain(adfuller))[2] for cell in cells]
    return int(np.ceil(np.median(found)))


def _spread(anomalies: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance of the innovations of a first-order autoregression, second half over first, and p-values.

    The test is that of Brown and Forsythe (1974), which heavy tails do not mislead.
    """
    from scipy.stats import levene

    now, before = anomalies[1:], anomalies[:-1]
    power = (before**2).sum(axis=0)
    slope = (now * before).sum(axis=0) / np.where(power > 0, power, 1.0)
    innovations = now - slope * before
    half = len(innovations) // 2
    first, second = innovations[:half], innovations[half:]
    variance = np.maximum(first.var(axis=0), np.finfo(np.float64).tiny)
    p_values = levene(first, second, center="median", axis=0).pvalue
    ratio = np.clip(second.var(axis=0) / variance, 1.0 / _LARGEST_RATIO, _LARGEST_RATIO)
    return ratio, np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)


def _statsmodels(name: str) -> Any:
    """A test of statsmodels, imported when it is used.

    Raises:
        UsageError: if statsmodels is not installed.
    """
    try:
        from statsmodels.tsa import stattools
    except ImportError as error:
        raise UsageError("tests of stationarity need statsmodels: pip install statsmodels") from error
    return getattr(stattools, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without two warnings of statsmodels, which would come once for each cell.

    That a KPSS statistic lies beyond the table, from which no p-value is taken here; and that a lag of a cell that
    hardly changes is no news, which its p-value says as well.
    """
    from statsmodels.tools.sm_exceptions import InterpolationWarning, SingularMatrixWarning

    with warnings.catch_warnings():
        for known in (InterpolationWarning, SingularMatrixWarning):
            warnings.simplefilter("ignore", known)
        yield


def _plain(test: Any) -> dict[str, bool]:
    """From release 0.15 on a test must be told that it shall give a plain tuple, as all releases before did."""
    return {"result_object": False} if "result_object" in inspect.signature(test).parameters else {}
