"""Every score from the statistics of its windows: added in any order, over processes, and resampled for an interval."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from stkit.data.source import Variable
from stkit.errors import DataError
from stkit.evaluate.batches import rounds
from stkit.evaluate.comparison.group import Group
from stkit.evaluate.comparison.intervals import with_intervals
from stkit.evaluate.comparison.saved import study_of
from stkit.evaluate.comparison.study import study
from stkit.evaluate.comparison.tables import shown_score
from stkit.evaluate.comparison.words import finding
from stkit.evaluate.contingency import CriticalSuccessIndex, FalseAlarmRatio, HeidkeSkillScore
from stkit.evaluate.event import Event
from stkit.evaluate.ledger import Ledger
from stkit.evaluate.metric import Metric, Training
from stkit.evaluate.metric_config import ThresholdConfig
from stkit.evaluate.metric_set import make_metrics
from stkit.evaluate.scores import Scores, VariableIntervals, VariableScores
from stkit.evaluate.window_errors import ErrorsLayout, RunErrors, window_errors
from stkit.recipe.sections.evaluate import EvaluateConfig
from tests.evaluate.comparison.made_up import autoregression

NAMES = ("rain", "wind")
GRID = (12, 16)
ERRORS = ("rmse", "mae", "bias", "acc_centred", "acc_uncentred", "mse_per_frame", "mae_per_frame")
SHARPNESS = ("variance_ratio", "effective_resolution")
IMAGES = ("ssim_range1", "ssim_uint8", "ssim_float2", "psnr_range1")
ENSEMBLES = ("crps", "spread_skill", "rank_histogram")
FIXED = (*ERRORS, *SHARPNESS, *IMAGES, *ENSEMBLES)
EVENTS = [
    *({"name": name, "threshold": [0.4, 0.8]} for name in ("csi", "pod", "far", "hss", "frequency_bias")),
    {"name": "csi", "threshold": 0.6, "variable": "wind"},
    {"name": "fss", "threshold": 0.6, "scale": [1, 5]},
    {"name": "max_csi", "threshold": 0.8, "pool": 4},
    {"name": "reliability", "threshold": 0.6},
]


def every_metric() -> dict[str, Metric]:
    from stkit.data.source import Grid

    metrics = make_metrics(EvaluateConfig.model_validate({"metrics": [*FIXED, *EVENTS]}).scores)
    training = Training(None, tuple(Variable(name, "1") for name in NAMES), Grid(*GRID))  # type: ignore[arg-type]
    for metric in metrics.values():
        metric.fit(training)
    return metrics


def fields(windows: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Truth, forecasts, climatology and members, in [0, 1]; every other window has all its cells."""
    rng = np.random.default_rng(seed)
    shape = (windows, 2, len(NAMES), *GRID)
    truth = rng.random(shape).astype(np.float32)
    truth[1::2][rng.random(truth[1::2].shape) < 0.2] = np.nan
    members = rng.random((4, *shape)).astype(np.float32)
    forecasts = {"model": members.mean(axis=0), "persistence": rng.random(shape).astype(np.float32)}
    return truth, forecasts, rng.random(shape), members


def ledger(metrics: dict[str, Metric]) -> Ledger:
    weights = np.cos(np.deg2rad(np.linspace(0, 70, GRID[0])))[:, None] * np.ones(GRID)
    return Ledger(metrics, ["model", "persistence"], leads=2, variables=len(NAMES), weights=weights)


def add(book: Ledger, windows: range, all_fields: tuple) -> np.ndarray:
    truth, forecasts, climatology, members = all_fields
    rows = list(windows)
    chosen = {name: forecast[rows] for name, forecast in forecasts.items()}
    return book.add(truth[rows], chosen, climatology[rows], {"model": members[:, rows]})


def test_two_processes_give_what_one_gives() -> None:
    """The windows shared out and the sums added as an evaluation in two processes does."""
    metrics, made = every_metric(), fields(11)
    alone = ledger(metrics)
    statistics = add(alone, range(11), made)
    parts, kept = [], []
    for rank in range(2):
        book = ledger(metrics)
        for first, mine in rounds(11, 2, rank, 2):
            if mine:
                kept.append((first, rank, add(book, mine, made)))
        parts.append(book.vector())
    together = ledger(metrics)
    together.replace(parts[0] + parts[1])
    assert together.windows == alone.windows == 11
    np.testing.assert_array_equal(together.counted_cells, alone.counted_cells)
    in_order = np.concatenate([found for *_, found in sorted(kept, key=lambda one: one[:2])], axis=1)
    np.testing.assert_allclose(in_order, statistics, rtol=1e-12)
    for name in metrics:
        for forecast in alone.forecasts:
            mine, theirs = together.score(forecast, name), alone.score(forecast, name)
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14, err_msg=name)
            curves = together.curve(forecast, name), alone.curve(forecast, name)
            assert (curves[0] is None) == (curves[1] is None)
            for line in curves[0].lines if curves[0] is not None and curves[1] is not None else ():
                np.testing.assert_allclose(curves[0].lines[line], curves[1].lines[line], rtol=1e-12, atol=1e-14)
        for words, numbers in together.beside(name).items():
            np.testing.assert_allclose(numbers, alone.beside(name)[words], rtol=1e-12)


def test_the_statistics_that_are_kept_give_the_score() -> None:
    metrics, made = every_metric(), fields(6)
    book = ledger(metrics)
    statistics = add(book, range(6), made)
    assert statistics.shape == (2, 6, len(book.kept), 2, len(NAMES))
    without = {name for name in metrics if name not in book.kept}
    assert without == {"effective_resolution", "rank_histogram"}, "they are made of too many numbers"
    for name in set(book.kept):
        own = statistics[:, :, np.array(book.kept) == name].sum(axis=1)
        for number, forecast in enumerate(book.forecasts):
            found = metrics[name].score(own[number])
            np.testing.assert_allclose(found, book.score(forecast, name), rtol=1e-12, err_msg=name)
            low, high = metrics[name].bounds
            known = found[np.isfinite(found)]
            assert ((known >= low) & (known <= high)).all(), name


def of_run(metrics: dict[str, Metric], statistics: np.ndarray, kept: tuple[str, ...]) -> dict[str, VariableIntervals]:
    """Intervals of made-up windows that share no time step."""
    forecasts, windows, _, leads, channels = statistics.shape
    names = NAMES[:channels]
    layout = ErrorsLayout(
        tuple(["model", "persistence"][:forecasts]),
        tuple(Variable(name, "mm/h") for name in names),
        tuple(range(windows)),
        None,
        1,
        leads,
        "hash",
        "step",
        False,
        kept,
    )
    truth = np.zeros((windows, leads, channels, 1, 1))
    errors = window_errors(truth, [truth] * forecasts, np.ones((1, 1)), statistics)
    blank = {name: VariableScores("mm/h", "", 0, 0, 0, {}, {}) for name in names}
    scores = Scores(windows, windows, "hash", "", 1, tuple(range(1, leads + 1)), "step", {}, {}, blank, "")
    told = with_intervals(scores, RunErrors(layout, errors), metrics)
    assert Scores.from_dict(told.as_dict()) == told, "as it is kept in scores.json"
    return {name: one.intervals for name, one in told.variables.items()}


def test_every_score_has_an_interval_that_holds_it() -> None:
    metrics, made = every_metric(), fields(40)
    book = ledger(metrics)
    found = of_run(metrics, add(book, range(40), made), book.kept)
    for name, metric in metrics.items():
        scores = book.score("model", name)
        for channel, variable in enumerate(NAMES):
            told = found[variable]
            if metric.kept and np.isfinite(scores[:, channel]).all():
                for (low, high), score in zip(told.scores[name], scores[:, channel], strict=True):
                    assert metric.bounds[0] <= low < score < high <= metric.bounds[1], name
            else:
                assert name not in told.scores
    assert "csi_wind_0.6" not in found["rain"].scores, "it is for the other variable"
    assert set(found["rain"].refused) == {"effective_resolution", "rank_histogram"}
    assert all(low < high for low, high in found["rain"].skill["persistence"])


@pytest.mark.parametrize("kind", [CriticalSuccessIndex, FalseAlarmRatio, HeidkeSkillScore])
def test_the_width_is_that_of_a_plain_bootstrap(kind: type) -> None:
    """Windows that know nothing of each other: each drawn by itself, the score of the pooled counts, its quantiles."""
    rng = np.random.default_rng(3)
    windows = 150
    counts = rng.poisson(rng.gamma(2.0, 2.0, windows)[:, None] * np.array([3.0, 2.0, 2.0, 30.0])).astype(np.float64)
    metric = kind(Event(ThresholdConfig(name="csi", threshold=1.0)))
    low, high = of_run({"csi": metric}, counts[None, :, :, None, None], ("csi",) * 4)["rain"].scores["csi"][0]
    drawn = rng.integers(windows, size=(4000, windows))
    plain = metric.score(counts[drawn].sum(axis=1).T[..., None])[:, 0]
    expected = np.quantile(plain, [0.025, 0.975])
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.12)


def test_nine_of_ten_intervals_of_a_ratio_hold_the_truth() -> None:
    """CSI of windows whose rain lasts: of 120 made-up test parts at least 88 %, and not all."""
    metric, held = CriticalSuccessIndex(Event(ThresholdConfig(name="csi", threshold=1.0))), 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        size = np.exp(0.5 * autoregression(rng, 0.5, (60,)))
        hits = size * (0.4 + 0.1 * autoregression(rng, 0.5, (60,)))
        rest = size * (0.6 + 0.1 * autoregression(rng, 0.5, (60,)))
        counts = np.stack([hits, rest / 2, rest / 2, np.ones(60)], axis=1)[None, :, :, None, None]
        layout_free = of_run_fast(metric, counts)
        held += layout_free[0] < 0.4 < layout_free[1]
    assert 0.88 * 120 <= held < 120


def of_run_fast(metric: Metric, counts: np.ndarray) -> tuple[float, float]:
    from stkit.evaluate.comparison.difference import paired
    from stkit.evaluate.comparison.sample import Sample, pooled

    sums = np.moveaxis(counts[0, ..., 0], 1, 0)[None]
    nothing = Sample.of(np.zeros((1, 60, 1)), np.ones((60, 1)))
    one = paired(Sample.of_sums(sums, pooled(metric, 0, 1)), nothing, 1, resamples=199).by_lead[0]
    assert one.low is not None
    assert one.high is not None
    return one.low, one.high


def test_what_no_window_says_anything_about_has_no_interval() -> None:
    """Never a hit: that the bootstrap always gives 0 does not say that it is 0."""
    metric = CriticalSuccessIndex(Event(ThresholdConfig(name="csi", threshold=1.0)))
    counts = np.tile(np.array([0.0, 2.0, 1.0, 5.0]), (30, 1))[None, :, :, None, None]
    assert of_run({"csi": metric}, counts, ("csi",) * 4)["rain"].scores["csi"] == (None,)


def test_a_run_without_statistics_has_no_intervals() -> None:
    metric = CriticalSuccessIndex(Event(ThresholdConfig(name="csi", threshold=1.0)))
    nothing = np.empty((1, 30, 0, 1, 1))
    assert not of_run({"csi": metric}, nothing, ())["rain"].any
    assert replace(VariableIntervals()).refused == {}


def rain_runs(better: float, seed: int = 0, windows: int = 60) -> RunErrors:
    """Counts of a model that has more hits of the same showers than persistence."""
    rng = np.random.default_rng(seed)
    events = rng.gamma(2.0, 20.0, (windows, 2))
    noise = 0.02 * rng.normal(size=(2, windows, 2))
    hits = np.stack([events * share for share in (0.4 + better, 0.4)]) + events * noise
    counts = np.stack([hits, events / 3 + 0 * hits, events - hits, np.full_like(hits, 200.0)], axis=2)
    layout = ErrorsLayout(
        ("model", "persistence"),
        (Variable("rain", "mm/h"),),
        tuple(range(windows)),
        None,
        1,
        2,
        "hash",
        "step",
        False,
        ("csi_1",) * 4,
    )
    zeros = np.zeros((windows, 2, 1, 1, 1))
    return RunErrors(layout, window_errors(zeros, [zeros, zeros], np.ones((1, 1)), counts[..., None]))


def test_runs_are_compared_by_any_score() -> None:
    """By one that is better when higher: more hits are better, and the page says so."""
    metric = CriticalSuccessIndex(Event(ThresholdConfig(name="csi", threshold=1.0)))
    found = study([Group("wet", (0,), ("runs/wet",), (rain_runs(0.2),))], score="csi_1", metric=metric)
    (one,) = found.compared
    assert one.word == "better"
    assert one.paired.overall.difference > 0
    hits, alarms, misses = rain_runs(0.2).errors.statistics[0, :, :3, :, 0].sum(axis=0)
    assert found.members[0].scores["rain"][0] == pytest.approx(tuple(hits / (hits + alarms + misses)))
    assert found.members[0].overall["rain"][0] == pytest.approx(hits.sum() / (hits + alarms + misses).sum())
    assert shown_score(found, "rain") == "CSI at 1 mm/h"
    assert study_of(json.loads(json.dumps(found.as_dict()))).compared[0].word == "better"
    worse = study([Group("dry", (0,), ("runs/dry",), (rain_runs(-0.2),))], score="csi_1", metric=metric)
    assert worse.compared[0].word == "worse"
    with pytest.raises(DataError, match="runs/wet: does not keep of each window what far_1 is made of"):
        study([Group("wet", (0,), ("runs/wet",), (rain_runs(0.2),))], score="far_1", metric=metric)


def test_the_words_of_a_comparison_name_the_score_and_leave_out_what_is_not_defined() -> None:
    metric = CriticalSuccessIndex(Event(ThresholdConfig(name="csi", threshold=1.0)))
    found = study([Group("wet", (0,), ("runs/wet",), (rain_runs(0.2),))], score="csi_1", metric=metric)
    assert finding(found) == ["CSI at 1 mm/h: Against persistence: better: wet."]
    dry = rain_runs(0.2)
    dry.errors.statistics[1, :, :3] = 0.0
    assert study([Group("wet", (0,), ("runs/wet",), (dry,))], score="csi_1", metric=metric).compared == ()
