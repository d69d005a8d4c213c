"""Scores of events against the ``scores`` package, pysteps and NumPy, and what any of them must hold."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.data.prepare import from_source
from stkit.data.record import Record
from stkit.data.source import Grid, Variable
from stkit.errors import DataError
from stkit.evaluate.checks import check_evaluation
from stkit.evaluate.climatology import Climatology
from stkit.evaluate.event import local_percentile
from stkit.evaluate.metric import Comparison, Metric, Training, area_weights
from stkit.evaluate.metric_set import make_metrics
from stkit.recipe.sections.evaluate import EvaluateConfig
from tests.data.fields import config, months, seasonal, source, with_land

ENTRIES = [
    {"name": "csi", "threshold": 1.0},
    {"name": "pod", "threshold": 1.0},
    {"name": "far", "threshold": 1.0},
    {"name": "hss", "threshold": 1.0},
    {"name": "frequency_bias", "threshold": 1.0},
    {"name": "max_csi", "threshold": 1.0, "pool": 3},
    {"name": "fss", "threshold": 1.0, "scale": 3},
]
KINDS = [entry["name"] for entry in ENTRIES]
ORACLES = {
    "csi": "critical_success_index",
    "pod": "probability_of_detection",
    "far": "false_alarm_ratio",
    "hss": "heidke_skill_score",
    "frequency_bias": "frequency_bias",
}


def metric(**entry: object) -> Metric:
    made = make_metrics(EvaluateConfig.model_validate({"metrics": [entry]}).scores)
    return next(iter(made.values()))


def rain(seed: int, windows: int = 3, *, height: int = 12, width: int = 10, missing: float = 0.3) -> Comparison:
    """Skewed fields that have something to do with each other, with cells that do not count."""
    draw = np.random.default_rng(seed)
    shape = (windows, 2, 2, height, width)
    truth = draw.gamma(0.7, 1.5, shape)
    forecast = 0.6 * truth + draw.gamma(0.5, 1.0, shape)
    weights = area_weights(np.linspace(-60, 80, height), height, width)
    return Comparison(forecast, truth, draw.random(shape) >= missing, weights)


def sums(one: Metric, data: Comparison) -> np.ndarray:
    found = one.sums(data)
    assert found.shape == (len(data.truth), one.statistics, *data.truth.shape[1:3])
    return found.sum(axis=0)


def value(one: Metric, data: Comparison) -> np.ndarray:
    return one.score(sums(one, data))


@pytest.mark.parametrize("kind", ORACLES)
def test_contingency_scores_equal_the_scores_package(kind: str) -> None:
    from scores.categorical import ThresholdEventOperator

    whole = rain(1)
    data = Comparison(whole.forecast, whole.truth, whole.counted, np.ones_like(whole.weights))
    dims = ("window", "lead", "variable", "lat", "lon")
    forecast, truth = (
        xr.DataArray(np.where(data.counted, fields, np.nan), dims=dims) for fields in (data.forecast, data.truth)
    )
    table = ThresholdEventOperator(default_event_threshold=1.0).make_contingency_manager(forecast, truth)
    counts = table.transform(preserve_dims=["lead", "variable"])
    expected = getattr(counts, ORACLES[kind])()
    np.testing.assert_allclose(value(metric(name=kind, threshold=1.0), data), expected.values, rtol=1e-12)
    observed = counts.get_counts()["tp_count"] + counts.get_counts()["fn_count"]
    one = metric(name=kind, threshold=1.0)
    np.testing.assert_array_equal(one.beside(sums(one, data))["observed events"], observed.values)


def test_counts_are_weighted_by_area() -> None:
    data = rain(2)
    forecast, truth = data.forecast >= 1, data.truth >= 1
    weights = data.counted * data.weights
    hits, missed, alarms = (
        (weights * cells).sum(axis=(0, 3, 4)) for cells in (forecast & truth, ~forecast & truth, forecast & ~truth)
    )
    np.testing.assert_allclose(value(metric(name="csi", threshold=1), data), hits / (hits + missed + alarms))


@pytest.mark.parametrize("scale", [1, 3, 7])
def test_the_fractions_skill_score_equals_pysteps(scale: int) -> None:
    fss = pytest.importorskip("pysteps.verification.spatialscores", reason="pysteps is not installed").fss
    data = rain(3, windows=1, missing=0.0)
    found = value(metric(name="fss", threshold=1.0, scale=scale), data)
    for lead, variable in np.ndindex(found.shape):
        expected = fss(data.forecast[0, lead, variable], data.truth[0, lead, variable], thr=1.0, scale=scale)
        np.testing.assert_allclose(found[lead, variable], expected, rtol=1e-10)


@pytest.mark.parametrize("scale", [1, 3, 7])
def test_the_fractions_skill_score_equals_the_scores_package_and_scipy(scale: int) -> None:
    from scipy.ndimage import uniform_filter
    from scores.spatial import fss_2d_single_field

    data = rain(4, windows=2)
    events = [np.where(data.counted, fields >= 1, False).astype(float) for fields in (data.forecast, data.truth)]
    size = (1, 1, 1, scale, scale)
    forecast, truth = (uniform_filter(cells, size=size, mode="constant") for cells in events)
    top = (data.counted * (forecast - truth) ** 2).sum(axis=(0, 3, 4))
    bottom = (data.counted * (forecast**2 + truth**2)).sum(axis=(0, 3, 4))
    np.testing.assert_allclose(value(metric(name="fss", threshold=1, scale=scale), data), 1 - top / bottom, rtol=1e-10)
    if scale == 1:
        whole = rain(5, windows=1, missing=0.0)
        alone = fss_2d_single_field(
            whole.forecast[0, 0, 0], whole.truth[0, 0, 0], event_threshold=1, window_size=(1, 1)
        )
        np.testing.assert_allclose(value(metric(name="fss", threshold=1, scale=1), whole)[0, 0], alone, rtol=1e-10)


def test_the_fractions_skill_score_says_from_where_on_it_is_useful() -> None:
    data = rain(6)
    one = metric(name="fss", threshold=1, scale=3)
    truth = (data.truth >= 1) & data.counted
    share = truth.sum(axis=(0, 3, 4)) / data.counted.sum(axis=(0, 3, 4))
    np.testing.assert_allclose(one.beside(sums(one, data))["useful from"], 0.5 + share / 2)


@pytest.mark.parametrize("pool", [1, 3, 4])
def test_maxima_of_blocks_equal_max_pooling(pool: int) -> None:
    import torch

    whole = rain(7, missing=0.2)
    data = Comparison(whole.forecast, whole.truth, whole.counted, np.ones_like(whole.weights))
    maxima = []
    for fields in (data.forecast, data.truth, np.zeros_like(data.truth)):
        flat = torch.from_numpy(np.where(data.counted, fields, -1.0)).flatten(0, 2)
        maxima.append(torch.nn.functional.max_pool2d(flat, pool, ceil_mode=True).unflatten(0, (3, 2, 2)).numpy())
    forecast, truth, known = maxima[0] >= 1, maxima[1] >= 1, maxima[2] >= 0
    space = (0, 3, 4)
    hits, either = (forecast & truth & known).sum(axis=space), ((forecast | truth) & known).sum(axis=space)
    np.testing.assert_allclose(value(metric(name="max_csi", threshold=1, pool=pool), data), hits / either)


@pytest.mark.parametrize("entry", ENTRIES, ids=KINDS)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31), cut=st.integers(1, 4))
def test_chunks_give_what_the_whole_gives(entry: dict, seed: int, cut: int) -> None:
    data, one = rain(seed, 5), metric(**entry)
    parts = [
        Comparison(data.forecast[rows], data.truth[rows], data.counted[rows], data.weights)
        for rows in (slice(cut), slice(cut, None))
    ]
    np.testing.assert_allclose(one.score(sum(sums(one, piece) for piece in parts)), value(one, data), rtol=1e-9)


@pytest.mark.parametrize("entry", ENTRIES, ids=KINDS)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31), junk=st.sampled_from([np.nan, np.inf, 1e30, -1e30]))
def test_cells_that_are_not_counted_do_not_matter(entry: dict, seed: int, junk: float) -> None:
    data, one = rain(seed), metric(**entry)
    forecast, truth = (np.where(data.counted, fields, junk) for fields in (data.forecast, data.truth))
    masked = Comparison(forecast, truth, data.counted, data.weights)
    np.testing.assert_array_equal(value(one, masked), value(one, data))


@pytest.mark.parametrize("entry", ENTRIES, ids=KINDS)
def test_a_perfect_forecast(entry: dict) -> None:
    data, one = rain(1), metric(**entry)
    perfect = Comparison(data.truth, data.truth, data.counted, data.weights)
    best = {"lower": 0.0, "higher": 1.0, "one": 1.0}[one.better]
    np.testing.assert_allclose(value(one, perfect), best, atol=1e-12)


@pytest.mark.parametrize("entry", ENTRIES, ids=KINDS)
def test_without_an_event_there_is_no_number(entry: dict) -> None:
    data, one = rain(1), metric(**{**entry, "threshold": 1e9})
    assert np.isnan(value(one, data)).all()
    assert (one.beside(sums(one, data))["observed events"] == 0).all()


@pytest.mark.parametrize("entry", ENTRIES, ids=KINDS)
def test_it_says_its_convention_and_its_threshold(entry: dict) -> None:
    one = metric(**{**entry, "threshold": 2.5})
    assert "2.5 {u}" in one.label
    assert len(one.convention) > 40


def test_a_value_at_the_threshold_is_an_event_in_the_precision_of_the_data() -> None:
    fields = np.full((1, 1, 1, 2, 2), np.float32(0.7), dtype=np.float64)
    data = Comparison(fields, fields, np.ones_like(fields, dtype=bool), np.ones((2, 2)))
    assert value(metric(name="pod", threshold=0.7), data) == 1.0


def training(fields: np.ndarray, times: np.ndarray, *, names: tuple[str, ...] = ("sst",)) -> Training:
    record = Record.of(fields, times)
    grid = Grid(*fields.shape[2:])
    return Training(record, tuple(map(Variable, names)), grid, Climatology.fit(record, "month"))


def test_a_local_percentile_is_that_of_each_cells_departures(monkeypatch: pytest.MonkeyPatch) -> None:
    fields, times = with_land(seasonal(60, height=5)), months(60)
    known = training(fields, times)
    assert known.climatology is not None
    departures = fields - known.climatology.at(times, 60).numpy()
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="All-NaN"):
        expected = np.nanpercentile(departures.astype(np.float64), 90, axis=0)
    np.testing.assert_allclose(local_percentile(known.record, known.climatology, 90), expected)
    monkeypatch.setattr("stkit.evaluate.event._BYTES_AT_A_TIME", 1)
    np.testing.assert_allclose(local_percentile(known.record, known.climatology, 90), expected, err_msg="row by row")


def test_a_local_percentile_finds_a_tenth_of_the_training_part() -> None:
    fields, times = with_land(seasonal(60)), months(60)
    known = training(fields, times)
    assert known.climatology is not None
    one = metric(name="csi", threshold="p90")
    one.fit(known)
    truth = fields[:, None].astype(np.float64)
    normal = known.climatology.at(times, 60).numpy()[:, None].astype(np.float64)
    data = Comparison(truth, truth, np.isfinite(truth), np.ones(fields.shape[2:]), normal)
    found = sums(one, data)
    assert one.needs_climatology
    assert 0.09 < found[4, 0, 0] / np.isfinite(fields).sum() < 0.12
    assert value(one, data) == 1.0
    assert one.label == "CSI at the local 90th percentile"


def test_a_score_of_one_variable_says_nothing_of_the_others() -> None:
    one = metric(name="csi", threshold=1, variable="rain")
    known = training(seasonal(24, channels=2), months(24), names=("wind", "rain"))
    one.fit(known)
    found = value(one, rain(1))
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()


def test_a_variable_that_is_not_there_is_told_before_training() -> None:
    chosen = EvaluateConfig.model_validate({"metrics": [{"name": "csi", "threshold": 1, "variable": "rain"}]})
    with pytest.raises(DataError, match=r"evaluate\.metrics: csi is for the variable 'rain'; the data have v0"):
        check_evaluation(chosen, from_source(config(), source(), 0))
