"""Intervals of a run's scores: they hold the score, cover the truth, and are refused where there is too little."""

from __future__ import annotations

import numpy as np
import pytest

from stkit.evaluate.comparison.intervals import intervals
from tests.evaluate.comparison.made_up import HORIZON, autoregression, run_errors, weather


def losses(seed: int, windows: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    base = weather(rng, windows)
    return {
        "model": np.exp(0.2 * base + 0.1 * rng.normal(size=base.shape)),
        "persistence": np.exp(0.25 * base + 0.1 * rng.normal(size=base.shape)),
        "optimal": np.exp(0.1 * base),
    }


def test_an_interval_holds_its_score() -> None:
    found = losses(0)
    weight = np.random.default_rng(1).uniform(1, 2, found["model"].shape)
    run = run_errors(found, stride=3, weight=weight)
    sst = intervals(run).variables["sst"]
    mean = {name: (weight * loss).sum(0) / weight.sum(0) for name, loss in found.items()}
    for lead in range(HORIZON):
        low, high = sst.scores["mse"][lead]
        assert low < mean["model"][lead] < high
        assert (low + high) / 2 == pytest.approx(mean["model"][lead])
        assert sst.scores["rmse"][lead] == pytest.approx((low**0.5, high**0.5))
        skill = 1 - mean["model"][lead] / mean["persistence"][lead]
        low, high = sst.skill["persistence"][lead]
        assert low < skill < high
    assert set(sst.skill) == {"persistence"}, "what no forecast can reach takes no part"
    assert "mse_per_frame" not in sst.scores, "weights differ"
    assert not sst.refused


def test_the_same_errors_give_the_same_intervals() -> None:
    run = run_errors(losses(0), stride=3)
    assert intervals(run) == intervals(run)


def test_a_sum_over_a_frame_is_so_many_times_the_mean() -> None:
    found = losses(2)
    sst = intervals(run_errors(found, share_steps=False, weight=np.full(found["model"].shape, 64.0))).variables["sst"]
    for ends, summed in zip(sst.scores["mse"], sst.scores["mse_per_frame"], strict=True):
        assert summed == pytest.approx((64 * ends[0], 64 * ends[1]))


def test_too_few_blocks_are_refused_and_the_reason_is_told() -> None:
    found = intervals(run_errors(losses(3, windows=20)))
    assert not found.any
    assert found.convention == (
        "No 95 % intervals: 20 test windows of 6 time steps make 3.3 independent blocks, and an interval needs 5: "
        "30 windows."
    )
    few = intervals(run_errors(losses(3, windows=4), share_steps=False))
    assert "4 test windows make 4 independent blocks" in few.convention


def test_errors_that_stay_alike_for_long_are_refused_by_name() -> None:
    rng = np.random.default_rng(4)
    slow = np.linspace(5, 9, 40)[:, None] + np.zeros(HORIZON)
    model = slow + 0.1 * rng.normal(size=slow.shape)
    found = intervals(run_errors({"model": model, "persistence": slow + 1}, stride=6)).variables["sst"]
    assert set(found.refused) == {"mse", "mae"}
    assert "neighbouring windows are alike over" in found.refused["mse"]
    assert found.scores["mse"] == (None, None)
    assert found.skill["persistence"][0] is not None, "the difference is not alike for long"


def test_a_lead_time_without_a_cell_has_no_interval() -> None:
    found = losses(5)
    weight = np.ones_like(found["model"])
    weight[:, 1] = 0
    found = {name: np.where(weight > 0, loss, np.nan) for name, loss in found.items()}
    sst = intervals(run_errors(found, stride=6, weight=weight)).variables["sst"]
    assert sst.scores["rmse"][0] is not None
    assert sst.scores["rmse"][1] is None
    assert sst.skill["persistence"][1] is None


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    """Of 120 made-up test parts: 95 % are meant; below 88 % would be chance in one of a thousand cases."""
    truth, held = np.exp(1.0), 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        loss = truth + autoregression(rng, 0.5, (60,)).reshape(60, 1) * np.ones(1)
        ends = intervals(run_errors({"model": loss}, stride=3), resamples=199).variables["sst"].scores["mse"][0]
        assert ends is not None
        held += ends[0] < truth < ends[1]
    assert held >= 0.88 * 120
    assert held < 120
