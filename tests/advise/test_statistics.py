"""The parts of the advice, each against something that was made without it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from statsmodels.tsa.stattools import pacf

from stkit.advise.correlation import remember
from stkit.advise.false_discovery import adjusted
from stkit.advise.kpss_distribution import p_value
from stkit.advise.season import Season, seasons_of, split
from stkit.advise.stationarity import VERDICTS, decide, dickey_fuller, kpss
from stkit.errors import UsageError
from tests.data.fields import days, months, seeds


def hours(count: int) -> np.ndarray:
    return (np.datetime64("2001-01-01T00", "h") + np.arange(count)).astype("datetime64[ns]")


def autoregression(steps: int, cells: int, slope: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.zeros((steps, cells))
    out[0] = rng.normal(size=cells) / np.sqrt(1 - slope**2) if abs(slope) < 1 else 0
    for step in range(1, steps):
        out[step] = slope * out[step - 1] + rng.normal(size=cells)
    return out


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_values_are_those_of_scipy(values: list[float]) -> None:
    np.testing.assert_allclose(adjusted(np.array(values)), false_discovery_control(values), atol=1e-12)


def test_adjusting_keeps_the_shape_and_takes_all_as_one_family() -> None:
    values = np.random.default_rng(0).uniform(size=(3, 5))
    np.testing.assert_array_equal(adjusted(values), adjusted(values.ravel()).reshape(3, 5))


@pytest.mark.parametrize(
    ("regression", "statistics"),
    [("c", [0.347, 0.463, 0.574, 0.739]), ("ct", [0.119, 0.146, 0.176, 0.216])],
)
def test_the_kpss_distribution_meets_the_published_table(regression, statistics) -> None:
    """Table 1 of Kwiatkowski et al. (1992): 10, 5, 2.5 and 1 per cent. It was made by simulation."""
    np.testing.assert_allclose(p_value(np.array(statistics), regression), [0.10, 0.05, 0.025, 0.01], rtol=0.06)


@pytest.mark.parametrize("regression", ["c", "ct"])
def test_the_kpss_distribution_meets_a_simulation_of_its_own(regression) -> None:
    noise = np.random.default_rng(1).normal(size=(4000, 500))
    line = np.stack([np.ones(500), np.arange(500)][: 1 + (regression == "ct")], axis=1)
    left = noise - (noise @ line) @ np.linalg.inv(line.T @ line) @ line.T
    statistics = (left.cumsum(1) ** 2).sum(1) / 500**2 / (left**2).mean(1)
    found = np.sort(p_value(statistics, regression))
    np.testing.assert_allclose(found, (np.arange(4000) + 0.5) / 4000, atol=0.03)


def test_the_kpss_distribution_falls_for_ever() -> None:
    for regression in ("c", "ct"):
        places = np.geomspace(1e-4, 20.0, 400)
        found = p_value(places, regression)
        assert (np.diff(found) <= 1e-12).all()
        assert found[0] == 1.0
        assert 0 <= found[-1] < 1e-20


def test_kpss_p_values_come_from_the_statistic_of_statsmodels() -> None:
    values = np.stack([np.arange(80.0) + np.random.default_rng(0).normal(size=80)], axis=1)
    assert kpss(values, "c")[0] < 0.01, "the table of statsmodels ends at 0.01"
    assert kpss(values, "ct")[0] > 0.10, "and at 0.10"


@pytest.mark.parametrize(
    ("rejected", "verdict"),
    [
        ((True, False, False), "stationary"),
        ((True, False, True), "stationary"),
        ((True, True, False), "trend-stationary"),
        ((False, True, True), "difference-stationary"),
        ((False, False, True), "difference-stationary"),
        ((True, True, True), "unclear"),
        ((False, False, False), "unclear"),
        ((False, True, False), "unclear"),
    ],
)
def test_four_verdicts(rejected: tuple[bool, bool, bool], verdict: str) -> None:
    (found,) = decide(*(np.array([one]) for one in rejected))
    assert VERDICTS[found] == verdict


def test_false_finds_are_controlled_where_there_is_nothing_to_find() -> None:
    """Fields of white noise: in about 5 of 100 the KPSS test may find anything; of random walks, the Dickey-Fuller."""
    walks, noise = 0, 0
    for seed in range(60):
        field = np.random.default_rng(seed).normal(size=(120, 12))
        noise += bool((adjusted(kpss(field, "c")) <= 0.05).any())
        walk = field.cumsum(axis=0)
        walks += bool((adjusted(np.array([dickey_fuller(series, 1) for series in walk.T])) <= 0.05).any())
    # At most the nominal rate: 3 of 60, within three standard deviations of the binomial distribution.
    assert noise <= 8
    assert walks <= 8


def test_false_finds_among_finds() -> None:
    """Half of the cells have a trend, half are noise: of those where a level is refuted few are noise."""
    false, found = 0, 0
    for seed in range(40):
        field = np.random.default_rng(seed).normal(size=(100, 40))
        field[:, :20] += 0.03 * np.arange(100)[:, None]
        rejected = adjusted(kpss(field, "c")) <= 0.1
        false, found = false + rejected[20:].sum(), found + rejected.sum()
    assert found > 40 * 18
    assert false / found < 0.08


@settings(max_examples=20)
@given(seed=seeds, slope=st.floats(-0.9, 0.9))
def test_partial_correlations_are_those_of_statsmodels(seed: int, slope: float) -> None:
    series = autoregression(120, 2, slope, seed)
    series -= series.mean(axis=0)
    memory = remember(series, 0.05)
    for cell in range(2):
        expected = pacf(series[:, cell], nlags=memory.lags, method="ldb")
        np.testing.assert_allclose(memory.partial[:, cell], expected[1:], atol=1e-9)


def test_memory_of_an_autoregression() -> None:
    series = autoregression(2000, 30, 0.8)
    memory = remember(series - series.mean(axis=0), 0.05)
    assert memory.overall_folding == pytest.approx(-1 / np.log(0.8), rel=0.1)
    assert memory.direct_lags == 1
    assert 6 <= memory.significant_lags <= 16
    np.testing.assert_allclose(memory.correlation.mean(axis=1)[:5], 0.8 ** np.arange(1, 6), atol=0.03)
    second = autoregression(2000, 30, 0.6, seed=1)
    second[2:] += 0.5 * second[:-2]
    assert remember(second - second.mean(axis=0), 0.05).direct_lags >= 2


def test_memory_of_noise_and_of_a_line() -> None:
    noise = remember(np.random.default_rng(0).normal(size=(300, 50)), 0.05)
    assert (noise.significant_lags, noise.direct_lags) == (0, 0)
    assert 0.5 < noise.overall_folding < 1
    slow = np.cos(np.linspace(0, 1, 60))[:, None]
    assert remember(slow, 0.05).overall_folding is None


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (months(60), [("year", 12.0)]),
        (days(1000), [("year", 365.2425)]),
        (hours(24 * 800), [("year", 8765.82), ("day", 24.0)]),
        (hours(200), [("day", 24.0)]),
        (months(20), []),
        (None, []),
    ],
)
def test_seasons_by_the_calendar(times, expected) -> None:
    found, note = seasons_of(times, 100 if times is None else len(times), None, "field")
    assert [season.name for season in found] == [name for name, _ in expected]
    np.testing.assert_allclose([season.period for season in found], [period for _, period in expected])
    assert bool(note) == (not any(name == "year" for name, _ in expected))


def test_a_season_of_the_user() -> None:
    (season,), note = seasons_of(None, 60, 7.0, "field")
    assert (season.period, note) == (7.0, "")
    with pytest.raises(UsageError, match="record of field has 60 time steps, less than two seasons of 40"):
        seasons_of(None, 60, 40.0, "field")
    with pytest.raises(UsageError, match="two time steps or more"):
        seasons_of(None, 60, 1.5, "field")


@settings(max_examples=25)
@given(seed=seeds, period=st.sampled_from([2.0, 5.0, 12.0, 30.4]), trend=st.floats(-0.1, 0.1))
def test_the_parts_of_a_record(seed: int, period: float, trend: float) -> None:
    rng = np.random.default_rng(seed)
    t = np.arange(180.0)[:, None]
    noise = rng.normal(size=(180, 6))
    amplitude = np.linspace(0, 4, 6)
    wave = amplitude * np.cos(2 * np.pi * t / period)
    found = split(3.0 + trend * t + wave + noise, (Season("own", period),))
    power = (wave**2).mean(axis=0)
    np.testing.assert_allclose(found.share, power / (power + 1), atol=0.15)
    np.testing.assert_allclose(found.trend, trend, atol=0.01)
    assert found.overall == pytest.approx(power.sum() / (power.sum() + 6), abs=0.1)
    np.testing.assert_allclose(found.anomalies.mean(axis=0), 0, atol=1e-10)
    about = found.without_season - found.anomalies
    np.testing.assert_allclose(np.diff(about, 2, axis=0), 0, atol=1e-9), "what is left beside the anomalies is a line"


def test_a_season_of_noise_has_no_share() -> None:
    noise = np.random.default_rng(0).normal(size=(60, 500))
    assert split(noise, (Season("year", 12.0),)).overall < 0.01, "adjusted for its eleven terms"
