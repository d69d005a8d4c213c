"""Errors by window against plain loops, against the scores, and through the file."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.errors import UsageError
from stkit.evaluate.scores import Scores
from stkit.evaluate.window_errors import WindowErrors, read_errors, window_errors
from stkit.run.directory import RunDirectory
from tests.evaluate.conftest import HORIZON, INPUT_STEPS, make_field


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_the_errors_are_those_of_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 2, 1, 3, 2)
    truth = np.where(rng.random(shape) < 0.4, np.nan, rng.normal(size=shape))
    forecasts = [np.where(rng.random(shape) < 0.1, np.nan, rng.normal(size=shape)) for _ in range(2)]
    weights = rng.random(shape[3:])
    found = window_errors(truth, forecasts, weights)
    for window, lead in np.ndindex(2, 2):
        square, size, weight = [0.0, 0.0], [0.0, 0.0], 0.0
        for row, column in np.ndindex(3, 2):
            at = (window, lead, 0, row, column)
            if all(np.isfinite(values[at]) for values in (truth, *forecasts)):
                weight += weights[row, column]
                for number, forecast in enumerate(forecasts):
                    square[number] += weights[row, column] * (forecast[at] - truth[at]) ** 2
                    size[number] += weights[row, column] * abs(forecast[at] - truth[at])
        assert found.weight[window, lead, 0] == pytest.approx(weight)
        for number in range(2):
            expected = [total / weight if weight else np.nan for total in (square[number], size[number])]
            got = [found.squared[number, window, lead, 0], found.absolute[number, window, lead, 0]]
            np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_all_in_one_array_and_back() -> None:
    rng = np.random.default_rng(0)
    for kept in (0, 5):
        squared, absolute = rng.random((2, 3, 4, 2, 1))
        errors = WindowErrors(squared, absolute, rng.random((4, 2, 1)), rng.random((3, 4, kept, 2, 1)))
        for mine, back in zip(errors, WindowErrors.of(errors.by_window(), 3), strict=True):
            np.testing.assert_array_equal(mine, back)


def test_their_weighted_mean_is_the_score(trained: RunDirectory) -> None:
    scores, found = Scores.read(trained.scores), read_errors(trained.errors)
    for number, name in enumerate(found.layout.forecasts):
        said = scores.variables["sst"].scores[name]
        weight = found.errors.weight[..., 0]
        mse = np.nansum(weight * found.errors.squared[number, ..., 0], axis=0) / weight.sum(axis=0)
        mae = np.nansum(weight * found.errors.absolute[number, ..., 0], axis=0) / weight.sum(axis=0)
        np.testing.assert_allclose(np.sqrt(mse), said["rmse"], rtol=1e-12)
        np.testing.assert_allclose(mae, said["mae"], rtol=1e-12)


def test_what_the_file_says(trained: RunDirectory) -> None:
    found = read_errors(trained.errors)
    layout, scores = found.layout, Scores.read(trained.scores)
    assert layout.forecasts == ("model", "persistence", "climatology", "damped_anomaly", "eof_linear")
    assert [(variable.name, variable.units) for variable in layout.variables] == [("sst", "degC")]
    assert (layout.input_steps, layout.horizon) == (INPUT_STEPS, HORIZON)
    assert layout.windows_hash == scores.windows_hash
    assert (layout.lead_unit, layout.share_steps) == ("month", True)
    assert found.windows == scores.windows
    assert layout.times is not None
    np.testing.assert_array_equal(layout.times, make_field().time.values[np.array(layout.starts) + INPUT_STEPS - 1])
    with xr.open_dataset(trained.errors, engine="h5netcdf") as dataset:
        assert dataset.squared_error.dims == ("forecast", "start", "lead_time", "variable")
        assert list(dataset.forecast.values) == list(layout.forecasts)
        np.testing.assert_array_equal(dataset.start_time.values, layout.times)


def test_a_file_that_is_missing_or_damaged_is_told(run: RunDirectory) -> None:
    run.errors.write_bytes(b"CDF")
    with pytest.raises(UsageError, match=r"errors\.nc: cannot be read .*stkit eval"):
        read_errors(run.errors)
    run.errors.unlink()
    with pytest.raises(UsageError, match=r"no errors by window yet; `stkit eval"):
        read_errors(run.errors)
