"""Intervals of a run's scores: they hold the score, cover the truth, and are refused where there is too little."""

from __future__ import annotations

import numpy as np
import pytest

from stkit.evaluate.comparison.intervals import RESAMPLES, convention, with_intervals
from stkit.evaluate.metrics import MeanAbsoluteError, MeanSquaredError
from stkit.evaluate.scores import Scores, VariableIntervals, VariableScores
from stkit.evaluate.window_errors import RunErrors
from tests.evaluate.comparison.made_up import HORIZON, autoregression, run_errors, weather

METRICS = {"mse": MeanSquaredError(), "mae": MeanAbsoluteError()}


def intervals(run: RunErrors, resamples: int = RESAMPLES) -> VariableIntervals:
    """Those of the run's only variable."""
    blank = VariableScores("degC", "", 0, 0, 0, {}, {})
    scores = Scores(0, 0, "", "", 1, (1,), "month", {}, {}, {"sst": blank}, "")
    return with_intervals(scores, run, METRICS, resamples=resamples).variables["sst"].intervals


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
    sst = intervals(run)
    mean = {name: (weight * loss).sum(0) / weight.sum(0) for name, loss in found.items()}
    for lead in range(HORIZON):
        low, high = sst.scores["mse"][lead]
        assert low < mean["model"][lead] < high
        assert (low + high) / 2 == pytest.approx(mean["model"][lead])
        skill = 1 - mean["model"][lead] / mean["persistence"][lead]
        low, high = sst.skill["persistence"][lead]
        assert low < skill < high
    assert set(sst.skill) == {"persistence"}, "what no forecast can reach takes no part"
    assert not sst.refused


def test_the_same_errors_give_the_same_intervals() -> None:
    run = run_errors(losses(0), stride=3)
    assert intervals(run) == intervals(run)


def test_too_few_blocks_are_refused_and_the_reason_is_told() -> None:
    run = run_errors(losses(3, windows=20))
    assert not intervals(run).any
    assert convention(run) == (
        "No 95 % intervals: 20 test windows of 6 time steps make 3.3 independent blocks, and an interval needs 5: "
        "30 windows."
    )
    few = run_errors(losses(3, windows=4), share_steps=False)
    assert "4 test windows make 4 independent blocks" in convention(few)


def test_errors_that_stay_alike_for_long_are_refused_by_name() -> None:
    rng = np.random.default_rng(4)
    slow = np.linspace(5, 9, 40)[:, None] + np.zeros(HORIZON)
    model = slow + 0.1 * rng.normal(size=slow.shape)
    found = intervals(run_errors({"model": model, "persistence": slow + 1}, stride=6))
    assert set(found.refused) == {"mse", "mae"}
    assert "neighbouring windows are alike over" in found.refused["mse"]
    assert found.scores["mse"] == (None, None)
    assert found.skill["persistence"][0] is not None, "the difference is not alike for long"


def test_a_lead_time_without_a_cell_has_no_interval() -> None:
    found = losses(5)
    weight = np.ones_like(found["model"])
    weight[:, 1] = 0
    found = {name: np.where(weight > 0, loss, np.nan) for name, loss in found.items()}
    sst = intervals(run_errors(found, stride=6, weight=weight))
    assert sst.scores["mse"][0] is not None
    assert sst.scores["mse"][1] is None
    assert sst.skill["persistence"][1] is None


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    """Of 120 made-up test parts: 95 % are meant; below 88 % would be chance in one of a thousand cases."""
    truth, held = np.exp(1.0), 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        loss = truth + autoregression(rng, 0.5, (60,)).reshape(60, 1) * np.ones(1)
        ends = intervals(run_errors({"model": loss}, stride=3), resamples=199).scores["mse"][0]
        assert ends is not None
        held += ends[0] < truth < ends[1]
    assert held >= 0.88 * 120
    assert held < 120
