"""Variance and spectra against NumPy and pysteps, and on fields that are smoothed on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from stkit.data.record import Record
from stkit.data.source import Grid, Variable
from stkit.evaluate.metric import Comparison, Training
from stkit.evaluate.spectrum import EffectiveResolution, VarianceRatio
from tests.evaluate.test_events import rain, value


def fitted(height: int, width: int) -> EffectiveResolution:
    one = EffectiveResolution()
    record = Record.of(np.zeros((2, 1, height, width), dtype=np.float32))
    one.fit(Training(record, (Variable("v"),), Grid(height, width)))
    return one


def smoothed(sigma: float, side: int = 64, windows: int = 3) -> Comparison:
    truth = np.random.default_rng(0).normal(size=(windows, 2, 1, side, side))
    forecast = gaussian_filter(truth, (0, 0, 0, sigma, sigma), mode="wrap")
    return Comparison(forecast, truth, np.ones_like(truth, dtype=bool), np.ones((side, side)))


def test_the_variance_ratio_equals_numpy() -> None:
    data = rain(1)
    both = []
    for fields in (data.forecast, data.truth):
        total = np.zeros((2, 2))
        for place in np.ndindex(data.truth.shape[:3]):
            cells = data.counted[place]
            weights = data.weights[cells]
            mean = np.average(fields[place][cells], weights=weights)
            total[place[1:]] += np.average((fields[place][cells] - mean) ** 2, weights=weights)
        both.append(total)
    np.testing.assert_allclose(value(VarianceRatio(), data), both[0] / both[1], rtol=1e-10)


@pytest.mark.parametrize("side", [32, 33])
def test_the_spectrum_equals_that_of_pysteps(side: int) -> None:
    spectral = pytest.importorskip("pysteps.utils.spectral", reason="pysteps is not installed")
    data = smoothed(1.0, side, windows=2)
    one = fitted(side, side)
    curve = one.curve(one.sums(data).sum(axis=0))
    assert curve is not None
    expected = sum(spectral.rapsd(data.truth[window, 0, 0], fft_method=np.fft) for window in range(2))
    waves = min(len(expected) - 1, side // 2 - 1)
    np.testing.assert_allclose(curve.lines["power of the truth"][:waves, 0, 0], expected[1 : waves + 1], rtol=1e-10)
    assert curve.x[0] == side


def test_a_smoothed_forecast_resolves_what_its_filter_lets_through() -> None:
    sigma = 2.0
    # The filter's power falls to a half at this wavelength.
    expected = 2 * np.pi * sigma / np.sqrt(np.log(2))
    found = value(fitted(64, 64), smoothed(sigma))
    assert found == pytest.approx(np.full((2, 1), expected), rel=0.15)
    assert (value(VarianceRatio(), smoothed(sigma)) < 0.1).all()


def test_a_perfect_forecast_resolves_everything() -> None:
    data = smoothed(0.5)
    perfect = Comparison(data.truth, data.truth, data.counted, data.weights)
    np.testing.assert_allclose(value(fitted(64, 64), perfect), 2.0)
    np.testing.assert_allclose(value(VarianceRatio(), perfect), 1.0)


def test_a_field_with_land_has_no_spectrum_and_says_so() -> None:
    data = smoothed(1.0)
    counted = data.counted.copy()
    counted[:, 0, :, 3, 4] = False
    land = Comparison(np.where(counted, data.forecast, np.nan), data.truth, counted, data.weights)
    found = value(fitted(64, 64), land)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert "no" in EffectiveResolution.convention
    assert "land" in EffectiveResolution.convention


def test_chunks_give_what_the_whole_gives() -> None:
    data, one = smoothed(1.0), fitted(64, 64)
    each = [
        one.sums(Comparison(data.forecast[i : i + 1], data.truth[i : i + 1], data.counted[i : i + 1], data.weights))
        for i in range(3)
    ]
    np.testing.assert_allclose(one.score(np.concatenate(each).sum(axis=0)), value(one, data))


def test_a_grid_that_is_not_square() -> None:
    truth = np.random.default_rng(0).normal(size=(1, 1, 1, 12, 30))
    data = Comparison(truth, truth, np.ones_like(truth, dtype=bool), np.ones((12, 30)))
    np.testing.assert_allclose(value(fitted(12, 30), data), 2.0)
