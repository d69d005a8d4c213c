"""Scores against the ``scores`` package, torchmetrics and NumPy, and what any score must hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics.functional.image as tm
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.evaluate.correlation import CentredAnomalyCorrelation, UncentredAnomalyCorrelation
from stkit.evaluate.image_metrics import (
    PeakSignalToNoise,
    StructuralSimilarity,
    StructuralSimilarityFloat2,
    StructuralSimilarityUint8,
)
from stkit.evaluate.metric import Comparison, Metric, area_weights
from stkit.evaluate.metrics import (
    AbsoluteErrorPerFrame,
    Bias,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SquaredErrorPerFrame,
)

torch.set_num_threads(1)

CELL_SCORES = [
    MeanSquaredError,
    RootMeanSquaredError,
    MeanAbsoluteError,
    Bias,
    SquaredErrorPerFrame,
    AbsoluteErrorPerFrame,
    CentredAnomalyCorrelation,
    UncentredAnomalyCorrelation,
]
IMAGE_SCORES = [StructuralSimilarity, StructuralSimilarityUint8, StructuralSimilarityFloat2, PeakSignalToNoise]
DIMS = ("window", "lead", "variable", "lat", "lon")


def comparison(seed: int, windows: int = 3, *, height: int = 5, width: int = 7, missing: float = 0.3) -> Comparison:
    draw = np.random.default_rng(seed)
    shape = (windows, 2, 2, height, width)
    truth, forecast, climatology = draw.normal(20, 3, (3, *shape))
    return Comparison(
        forecast=forecast,
        truth=truth,
        counted=draw.random(shape) >= missing,
        weights=area_weights(np.linspace(-60, 80, height), height, width),
        climatology=climatology,
    )


def images(seed: int, windows: int = 3) -> Comparison:
    draw = np.random.default_rng(seed)
    shape = (windows, 2, 1, 16, 20)
    truth, forecast = draw.random((2, *shape))
    return Comparison(forecast, truth, np.ones(shape, dtype=bool), np.ones(shape[3:]))


def part(whole: Comparison, rows: slice) -> Comparison:
    climatology = None if whole.climatology is None else whole.climatology[rows]
    return Comparison(whole.forecast[rows], whole.truth[rows], whole.counted[rows], whole.weights, climatology)


def value(metric: Metric, data: Comparison) -> np.ndarray:
    sums = metric.sums(data)
    assert sums.shape == (len(data.truth), metric.statistics, *data.truth.shape[1:3])
    return metric.score(sums.sum(axis=0))


def labelled(data: Comparison) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    truth = xr.DataArray(np.where(data.counted, data.truth, np.nan), dims=DIMS)
    forecast = xr.DataArray(np.where(data.counted, data.forecast, np.nan), dims=DIMS)
    return forecast, truth, xr.DataArray(data.weights, dims=("lat", "lon"))


@pytest.mark.parametrize(
    ("metric", "oracle"),
    [
        (MeanSquaredError(), "mse"),
        (RootMeanSquaredError(), "rmse"),
        (MeanAbsoluteError(), "mae"),
        (Bias(), "mean_error"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_cell_scores_equal_the_scores_package(metric: Metric, oracle: str, seed: int) -> None:
    import scores.continuous

    data = comparison(seed)
    forecast, truth, weights = labelled(data)
    expected = getattr(scores.continuous, oracle)(forecast, truth, preserve_dims=["lead", "variable"], weights=weights)
    np.testing.assert_allclose(value(metric, data), expected.values, rtol=1e-12)


def test_cell_scores_equal_numpy() -> None:
    data = comparison(7)
    error = np.where(data.counted, data.forecast - data.truth, np.nan)
    weights = np.where(data.counted, data.weights, np.nan)
    space = (0, 3, 4)
    mean_square = np.nansum(weights * error**2, axis=space) / np.nansum(weights, axis=space)
    np.testing.assert_allclose(value(RootMeanSquaredError(), data), np.sqrt(mean_square), rtol=1e-12)
    np.testing.assert_allclose(
        value(SquaredErrorPerFrame(), data), np.nansum(error**2, axis=(3, 4)).mean(axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(
        value(AbsoluteErrorPerFrame(), data), np.nansum(abs(error), axis=(3, 4)).mean(axis=0), rtol=1e-12
    )


def test_centred_correlation_equals_pearson_of_the_scores_package() -> None:
    from scores.continuous.correlation import pearsonr

    whole = comparison(11)
    data = Comparison(whole.forecast, whole.truth, whole.counted, np.ones_like(whole.weights), whole.climatology)
    forecast, truth, _ = labelled(data)
    expected = pearsonr(
        forecast - data.climatology, truth - data.climatology, preserve_dims=["window", "lead", "variable"]
    )
    np.testing.assert_allclose(value(CentredAnomalyCorrelation(), data), expected.mean("window").values, rtol=1e-12)


def test_weighted_correlations_equal_numpy() -> None:
    data = comparison(13)
    assert data.climatology is not None
    centred = np.zeros(data.truth.shape[:3])
    uncentred = np.zeros_like(centred)
    for place in np.ndindex(centred.shape):
        cells = data.counted[place]
        f, o, w = (
            array[cells]
            for array in (
                data.forecast[place] - data.climatology[place],
                data.truth[place] - data.climatology[place],
                data.weights,
            )
        )
        covariance = np.cov(f, o, aweights=w)
        centred[place] = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        uncentred[place] = (w * f * o).sum() / np.sqrt((w * f * f).sum() * (w * o * o).sum())
    np.testing.assert_allclose(value(CentredAnomalyCorrelation(), data), centred.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(value(UncentredAnomalyCorrelation(), data), uncentred.mean(axis=0), rtol=1e-10)


def test_image_scores_equal_torchmetrics() -> None:
    data = images(3)
    for lead in range(2):
        forecast, truth = (torch.from_numpy(array[:, lead]) for array in (data.forecast, data.truth))
        similarity = tm.structural_similarity_index_measure(forecast, truth, data_range=1.0)
        ratio = tm.peak_signal_noise_ratio(forecast, truth, data_range=1.0, dim=(1, 2, 3))
        # computed in float32, of numbers of the size of one
        np.testing.assert_allclose(value(StructuralSimilarity(), data)[lead, 0], float(similarity), rtol=0, atol=1e-6)
        np.testing.assert_allclose(value(PeakSignalToNoise(), data)[lead, 0], float(ratio), rtol=1e-6)


@pytest.mark.parametrize("metric", [StructuralSimilarityUint8, StructuralSimilarityFloat2])
def test_the_similarities_of_the_tables_equal_scikit_image(metric: type[Metric]) -> None:
    from skimage.metrics import structural_similarity

    data = images(5)
    found = value(metric(), data)
    for lead in range(2):
        pairs = zip(data.forecast[:, lead, 0], data.truth[:, lead, 0], strict=True)
        if metric is StructuralSimilarityUint8:
            expected = [structural_similarity(*(np.uint8(np.float32(image) * 255) for image in pair)) for pair in pairs]
        else:
            expected = [structural_similarity(*pair, data_range=2.0) for pair in pairs]
        np.testing.assert_allclose(found[lead, 0], np.mean(expected), rtol=1e-5)


def test_image_scores_are_undefined_where_a_cell_is_missing_or_out_of_range() -> None:
    data = images(4)
    for metric in (StructuralSimilarity(), PeakSignalToNoise()):
        hole = data.counted.copy()
        hole[:, 0, 0, 2, 2] = False
        holed = Comparison(data.forecast, data.truth, hole, data.weights)
        np.testing.assert_array_equal(np.isnan(value(metric, holed)[:, 0]), [True, False])
        beyond = Comparison(data.forecast, data.truth * 2, data.counted, data.weights)
        assert np.isnan(value(metric, beyond)).all()
    small = Comparison(*(array[..., :8, :8] for array in (data.forecast, data.truth, data.counted, data.weights)))
    assert np.isnan(value(StructuralSimilarity(), small)).all()


@pytest.mark.parametrize("metric", [*CELL_SCORES, *IMAGE_SCORES])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), cut=st.integers(0, 5))
def test_chunks_give_what_the_whole_gives(metric: type[Metric], seed: int, cut: int) -> None:
    data = images(seed, 5) if metric in IMAGE_SCORES else comparison(seed, 5)
    chunks = [
        metric().sums(part(data, rows)).sum(axis=0) for rows in (slice(cut), slice(cut, None)) if len(data.truth[rows])
    ]
    np.testing.assert_allclose(metric().score(sum(chunks)), value(metric(), data), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", CELL_SCORES)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), junk=st.sampled_from([np.nan, np.inf, 1e30]))
def test_cells_that_are_not_counted_do_not_matter(metric: type[Metric], seed: int, junk: float) -> None:
    data = comparison(seed)
    forecast = np.where(data.counted, data.forecast, junk)
    truth = np.where(data.counted, data.truth, np.nan)
    masked = Comparison(forecast, truth, data.counted, data.weights, data.climatology)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(value(metric(), masked), value(metric(), data), rtol=1e-12)


@pytest.mark.parametrize("metric", CELL_SCORES)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_the_order_of_windows_does_not_matter(metric: type[Metric], seed: int) -> None:
    data = comparison(seed)
    order = np.random.default_rng(seed).permutation(len(data.truth))
    assert data.climatology is not None
    shuffled = Comparison(
        data.forecast[order], data.truth[order], data.counted[order], data.weights, data.climatology[order]
    )
    np.testing.assert_allclose(value(metric(), shuffled), value(metric(), data), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", [*CELL_SCORES, *IMAGE_SCORES])
def test_a_perfect_forecast(metric: type[Metric]) -> None:
    data = images(1) if metric in IMAGE_SCORES else comparison(1)
    perfect = Comparison(data.truth, data.truth, data.counted, data.weights, data.climatology)
    best = {"lower": 0.0, "zero": 0.0, "higher": np.inf if metric is PeakSignalToNoise else 1.0}[metric.better]
    np.testing.assert_allclose(value(metric(), perfect), best, atol=1e-12)


def test_a_worse_forecast_scores_worse() -> None:
    data = comparison(5)
    near, far = (Comparison(data.truth + scale * (data.forecast - data.truth), *_rest(data)) for scale in (0.1, 2.0))
    for metric in CELL_SCORES:
        sign = -1 if metric.better == "higher" else 1
        size = np.abs if metric.better == "zero" else np.asarray
        assert (sign * size(value(metric(), far)) > sign * size(value(metric(), near))).all(), metric


def test_climatology_has_no_anomaly_correlation() -> None:
    data = comparison(5)
    assert data.climatology is not None
    climatology = Comparison(data.climatology.astype(np.float32).astype(np.float64), *_rest(data))
    assert np.isnan(value(CentredAnomalyCorrelation(), climatology)).all()
    assert np.isnan(value(UncentredAnomalyCorrelation(), climatology)).all()


def test_nothing_counted_gives_no_number() -> None:
    data = comparison(5)
    nothing = Comparison(data.forecast, data.truth, np.zeros_like(data.counted), data.weights, data.climatology)
    for metric in CELL_SCORES:
        assert np.isnan(value(metric(), nothing)).all()


def test_weights_are_the_cosine_of_latitude() -> None:
    weights = area_weights(np.array([-90.0, 0.0, 60.0]), 3, 2)
    np.testing.assert_allclose(weights, [[0, 0], [1, 1], [0.5, 0.5]], atol=1e-15)
    np.testing.assert_array_equal(area_weights(None, 3, 2), np.ones((3, 2)))


@pytest.mark.parametrize("metric", [*CELL_SCORES, *IMAGE_SCORES])
def test_every_score_says_its_convention(metric: type[Metric]) -> None:
    assert len(metric.convention) > 40
    assert metric.label
    assert metric.unit


def _rest(data: Comparison) -> tuple:
    return data.truth, data.counted, data.weights, data.climatology
