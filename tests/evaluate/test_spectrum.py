"""Variance and spectra against NumPy and pysteps, and on fields that are smoothed on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from stkit.data.record import Record
from stkit.data.source import Axis, Grid, Variable
from stkit.evaluate.metric import Comparison, Training
from stkit.evaluate.rectangle import largest_rectangle
from stkit.evaluate.spectrum import EffectiveResolution, VarianceRatio, spacing
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


def test_a_frame_with_a_missing_cell_is_left_out() -> None:
    data = smoothed(1.0)
    counted = data.counted.copy()
    counted[:, 0, :, 3, 4] = False
    land = Comparison(np.where(counted, data.forecast, np.nan), data.truth, counted, data.weights)
    found = value(fitted(64, 64), land)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert "only frames without a missing cell" in EffectiveResolution().convention


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


def sea(height: int, width: int, land: tuple[slice, slice]) -> np.ndarray:
    whole = np.ones((1, height, width), dtype=bool)
    whole[0][land] = False
    return whole


def with_land(valid: np.ndarray, grid: Grid | None = None) -> EffectiveResolution:
    one = EffectiveResolution()
    record = Record.of(np.zeros((2, *valid.shape), dtype=np.float32))
    one.fit(Training(record, (Variable("v"),), grid or Grid(*valid.shape[1:]), valid=valid))
    return one


def test_with_land_it_is_that_of_the_largest_rectangle_without() -> None:
    """What lies on land or beside the rectangle has no say in it."""
    data = smoothed(1.5, 48)
    valid = sea(48, 48, (slice(0, 12), slice(0, 48)))
    hidden = np.where(valid, data.truth, np.nan)
    masked = Comparison(data.forecast, hidden, data.counted & valid, data.weights)
    cut = Comparison(*(fields[..., 12:, :] for fields in (data.forecast, data.truth, data.counted)), data.weights[12:])
    one = with_land(valid)
    np.testing.assert_array_equal(value(one, masked), value(fitted(36, 48), cut))
    assert np.isfinite(value(one, masked)).all()
    assert one.convention.endswith("the largest rectangle without land, 36 x 48 cells (rows 13–48, columns 1–48)")


def test_with_hardly_a_sea_it_is_not_defined_and_says_so() -> None:
    one = with_land(sea(20, 20, (slice(None, None, 5), slice(None))))
    assert one.convention.endswith("not defined here: no rectangle of 8 x 8 cells is without land")
    assert np.isnan(value(one, smoothed(1.0, 20))).all()
    assert one.curve(np.zeros((0, 2, 1))) is None


def test_in_the_unit_of_the_grid_where_cells_are_squares() -> None:
    km, metres, degrees = (
        tuple(Axis(name, np.arange(32) * step, units) for name, units in (("y", units[0]), ("x", units[-1])))
        for step, units in ((2.0, ["km"]), (2000.0, ["m"]), (2.0, ["degrees_north", "degrees_east"]))
    )
    data = smoothed(1.0, 32)
    cells = value(fitted(32, 32), data)
    for (y, x), unit in ((km, "km"), (metres, "km"), (degrees, "degrees")):
        one = with_land(np.ones((1, 32, 32), dtype=bool), Grid(32, 32, y, x))
        sums = one.sums(data).sum(axis=0)
        np.testing.assert_allclose(one.beside(sums)[f"model [{unit}]"], 2 * cells)
        curve = one.curve(sums)
        assert curve is not None
        assert curve.x_label == f"wavelength [{unit}]"
        assert curve.x[0] == pytest.approx(64.0)
    uneven = Axis("x", np.arange(32) ** 1.5, "km")
    for y, x in ((km[0], uneven), (km[0], degrees[1]), (Axis("y"), Axis("x"))):
        assert spacing(Grid(32, 32, y, x)) is None


@given(st.integers(0, 2**32 - 1))
def test_the_largest_rectangle_is_that_of_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = rng.random((6, 7)) < 0.75
    sizes = [
        (min(down - top, right - left), (down - top) * (right - left))
        for top, left in np.ndindex(6, 7)
        for down in range(top + 1, 7)
        for right in range(left + 1, 8)
        if whole[top:down, left:right].all()
    ]
    found = largest_rectangle(whole)
    if found is None:
        assert not sizes
    else:
        assert whole[found].all()
        assert (min(whole[found].shape), whole[found].size) == max(sizes)
