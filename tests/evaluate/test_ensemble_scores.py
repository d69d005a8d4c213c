"""Scores of ensembles against xskillscore and NumPy, and what they must hold."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.evaluate.ensemble import ContinuousRankedProbabilityScore, RankHistogram, SpreadSkill
from stkit.evaluate.metric import Comparison, Metric, area_weights
from stkit.evaluate.metrics import MeanAbsoluteError
from tests.evaluate.test_events import metric, value

DIMS = ("member", "window", "lead", "variable", "lat", "lon")
PLAIN = [ContinuousRankedProbabilityScore, SpreadSkill, RankHistogram]


def made(seed: int, members: int = 5, windows: int = 3, *, missing: float = 0.3, spread: float = 1.0) -> Comparison:
    """The truth is like a member where ``spread`` is one."""
    draw = np.random.default_rng(seed)
    shape = (windows, 2, 2, 6, 7)
    centre = draw.normal(2, 1, shape)
    truth = centre + draw.normal(size=shape)
    several = centre + spread * draw.normal(size=(members, *shape))
    weights = area_weights(np.linspace(-60, 80, 6), 6, 7)
    return Comparison(several.mean(axis=0), truth, draw.random(shape) >= missing, weights, None, several)


def labelled(data: Comparison) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    assert data.members is not None
    truth = xr.DataArray(np.where(data.counted, data.truth, np.nan), dims=DIMS[1:])
    members = xr.DataArray(np.where(data.counted, data.members, np.nan), dims=DIMS)
    return truth, members, xr.DataArray(data.weights, dims=("lat", "lon")).broadcast_like(truth)


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")  # of the scores package, where all is NaN
@pytest.mark.parametrize("members", [2, 5, 9])
def test_the_fair_crps_equals_xskillscore_and_the_scores_package(members: int) -> None:
    from scores.probability import crps_for_ensemble

    data = made(1, members)
    truth, several, weights = labelled(data)
    found = value(ContinuousRankedProbabilityScore(), data)
    expected = crps_for_ensemble(
        several, truth, "member", method="fair", preserve_dims=["lead", "variable"], weights=weights
    )
    np.testing.assert_allclose(found, expected.values, rtol=1e-10)
    import xskillscore as xs

    plain = xs.crps_ensemble(truth, several, dim=["window", "lat", "lon"], member_dim="member", weights=weights)
    # xskillscore has the one that depends on the number of members: the mean distance of two is smaller by (M - 1) / M.
    alone = np.abs(data.members - data.truth).mean(axis=0)
    cells = data.counted * data.weights
    error = (cells * alone).sum(axis=(0, 3, 4)) / cells.sum(axis=(0, 3, 4))
    np.testing.assert_allclose(error - (error - found) * (members - 1) / members, plain.values, rtol=1e-6)


def test_the_crps_of_one_forecast_is_its_absolute_error() -> None:
    whole = made(2)
    alone = Comparison(whole.forecast, whole.truth, whole.counted, whole.weights)
    expected = value(MeanAbsoluteError(), alone)
    np.testing.assert_allclose(value(ContinuousRankedProbabilityScore(), alone), expected, rtol=1e-12)
    same = Comparison(*_four(alone), None, np.repeat(alone.forecast[None], 4, axis=0))
    np.testing.assert_allclose(value(ContinuousRankedProbabilityScore(), same), expected, rtol=1e-12)


def test_the_spread_skill_ratio_equals_numpy_and_is_one_for_a_reliable_ensemble() -> None:
    data = made(3)
    cells = data.counted * data.weights
    spread = (cells * data.members.var(axis=0, ddof=1) * 6 / 5).sum(axis=(0, 3, 4))
    error = (cells * np.square(data.members.mean(axis=0) - data.truth)).sum(axis=(0, 3, 4))
    np.testing.assert_allclose(value(SpreadSkill(), data), np.sqrt(spread / error), rtol=1e-12)
    assert value(SpreadSkill(), made(4, 5, 200)) == pytest.approx(np.ones((2, 2)), abs=0.03)
    assert (value(SpreadSkill(), made(4, 5, 50, spread=0.3)) < 0.6).all()


def test_the_rank_histogram_equals_xskillscore() -> None:
    import xskillscore as xs

    data = made(5, 6, missing=0.0)
    truth, several, _ = labelled(data)
    one = RankHistogram()
    curve = one.curve(one.sums(data).sum(axis=0))
    assert curve is not None
    expected = xs.rank_histogram(truth, several, dim=["window", "lat", "lon"], member_dim="member")
    counts = expected.transpose("rank", "lead", "variable").values
    np.testing.assert_allclose(curve.lines["share"], counts / counts.sum(axis=0), rtol=1e-12)
    assert curve.x == tuple(range(7))
    assert (value(one, made(6, 4, 100)) < 0.01).all(), "flat where the truth is like a member"
    assert (value(one, made(6, 4, 30, spread=0.2)) > 0.3).all(), "a trough where the members are too alike"


def test_members_that_equal_the_truth_share_its_rank() -> None:
    zeros = np.zeros((1, 1, 1, 3, 3))
    data = Comparison(zeros, zeros, np.ones_like(zeros, dtype=bool), np.ones((3, 3)), None, np.zeros((4, *zeros.shape)))
    assert value(RankHistogram(), data) == 0.0


def test_reliability_and_brier_score_equal_xskillscore_and_numpy() -> None:
    import xskillscore as xs

    data = made(7, 10)
    truth, several, weights = labelled(data)
    probability = (several >= 2).mean("member").where(truth.notnull())
    observed = (truth >= 2).astype(float).where(truth.notnull())
    one = metric(name="reliability", threshold=2)
    expected = xs.brier_score(observed, probability, dim=["window", "lat", "lon"], weights=weights)
    np.testing.assert_allclose(value(one, data), expected.values, rtol=1e-10)
    curve = one.curve(one.sums(data).sum(axis=0))
    assert curve is not None
    cells = data.counted * data.weights
    chosen = cells * np.isclose(probability.values, 0.3)
    found = curve.lines["observed frequency"][3]
    np.testing.assert_allclose(found, (chosen * (data.truth >= 2)).sum((0, 3, 4)) / chosen.sum((0, 3, 4)))
    np.testing.assert_allclose(curve.lines["forecast probability"][3], 0.3)
    np.testing.assert_allclose(curve.lines["share of forecasts"].sum(axis=0), 1.0)


def _entries() -> list[Metric]:
    return [*(kind() for kind in PLAIN), metric(name="reliability", threshold=2)]


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**31), junk=st.sampled_from([np.nan, np.inf, 1e30]), cut=st.integers(1, 3))
def test_chunks_order_and_cells_that_do_not_count(seed: int, junk: float, cut: int) -> None:
    data = made(seed, windows=4)
    order = np.random.default_rng(seed).permutation(5)
    hidden = Comparison(
        data.forecast,
        np.where(data.counted, data.truth, junk),
        data.counted,
        data.weights,
        None,
        np.where(data.counted, data.members, junk)[order],
    )
    for one in _entries():
        whole = one.sums(data).sum(axis=0)
        parts = [
            one.sums(
                Comparison(data.forecast[rows], data.truth[rows], data.counted[rows], data.weights, None, several)
            ).sum(axis=0)
            for rows in (slice(cut), slice(cut, None))
            for several in (data.members[:, rows],)
        ]
        np.testing.assert_allclose(sum(parts), whole, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(value(one, hidden), one.score(whole), rtol=1e-9)


def test_a_single_forecast_has_no_spread_and_no_ranks() -> None:
    whole = made(8)
    alone = Comparison(*_four(whole))
    assert np.isnan(value(SpreadSkill(), alone)).all()
    assert np.isnan(value(RankHistogram(), alone)).all()
    assert RankHistogram().curve(RankHistogram().sums(alone).sum(axis=0)) is None


def _four(data: Comparison) -> tuple:
    return data.forecast, data.truth, data.counted, data.weights
