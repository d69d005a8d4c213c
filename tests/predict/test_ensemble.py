"""Members from several runs and from starts that lag behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stkit.errors import DataError, UsageError
from stkit.predict.forecast import predict
from stkit.run.directory import RunDirectory
from stkit.run.load import load
from tests.predict.conftest import MakeRun, make_field, opened, write


@pytest.fixture(scope="module")
def other(make_run: MakeRun) -> RunDirectory:
    """Another recipe, which looks back further."""
    return make_run(7, model={"name": "convlstm", "layers": [2]}, data={"input_steps": 5, "departure_from": "none"})


def test_members_are_the_runs(trained: RunDirectory, other: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    options = {"horizon": 3, "starts": ["2003-01..2003-06"]}
    done = predict([trained.path, other.path], inputs, tmp_path / "both.nc", statistics=True, **options)
    assert done.members == 2
    both = opened(tmp_path / "both.nc")
    assert both.sst.dims == ("time", "realization", "lead_time", "latitude", "longitude")
    for number, run in enumerate((trained, other)):
        predict(run.path, inputs, tmp_path / f"{number}.nc", **options)
        np.testing.assert_allclose(both.sst.values[:, number], opened(tmp_path / f"{number}.nc").sst.values, rtol=1e-5)
    xr.testing.assert_allclose(both.sst_mean, both.sst.mean("realization", skipna=False))
    xr.testing.assert_allclose(both.sst_spread, both.sst.std("realization", ddof=1, skipna=False))
    assert "convlstm, seed 7" in both.realization.attrs["comment"]


def test_lagged_members_say_the_same_times_from_earlier_starts(
    trained: RunDirectory, inputs: Path, tmp_path: Path
) -> None:
    predict(trained.path, inputs, tmp_path / "lagged.nc", lags=3)
    found = opened(tmp_path / "lagged.nc")
    np.testing.assert_array_equal(found.member_lag.values, [0, 1, 2])
    field, forecaster = make_field().isel(time=slice(0, 40)), load(trained.path)
    for lag in range(3):
        known = field.isel(time=slice(37 - lag, 40 - lag))
        said = forecaster(known.sst.values[:, None], 2 + lag, times=known.time.values)[0, lag:, 0]
        np.testing.assert_allclose(found.sst.values[0, lag], said.numpy(), rtol=1e-5)
    np.testing.assert_array_equal(found.valid_time.values[0], field.time.values[-1] + np.array([30, 61], "m8[D]"))


def test_by_valid_time_and_in_zarr(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    predict(trained.path, inputs, tmp_path / "a.nc", lags=2, by_valid_time=True)
    predict(trained.path, inputs, tmp_path / "a.zarr", lags=2, by_valid_time=True)
    found = opened(tmp_path / "a.nc")
    assert found.sst.dims == ("time", "realization", "latitude", "longitude")
    xr.testing.assert_equal(found, opened(tmp_path / "a.zarr"))


def test_a_store_is_not_overwritten_unasked(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    predict(trained.path, inputs, out)
    with pytest.raises(UsageError, match="--overwrite"):
        predict(trained.path, inputs, out)
    predict(trained.path, inputs, out, horizon=1, overwrite=True)
    assert opened(out).sizes["lead_time"] == 1
    folder = tmp_path / "mine.zarr"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="this is a folder"):
        predict(trained.path, inputs, folder, overwrite=True)


def test_a_grid_mapping_is_handed_on(trained: RunDirectory, tmp_path: Path) -> None:
    field = make_field().isel(time=slice(0, 40))
    field["crs"] = ((), 0, {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6371000.0})
    field.sst.attrs["grid_mapping"] = "crs"
    for name in ("out.nc", "out.zarr"):
        predict(trained.path, write(field, tmp_path / "input.nc"), tmp_path / name)
        found = opened(tmp_path / name)
        assert found.crs.attrs == {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6371000.0}
        assert found.sst.attrs["grid_mapping"] == "crs"


def test_runs_that_do_not_go_together_are_told(
    trained: RunDirectory, make_run: MakeRun, inputs: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="named twice"):
        predict([trained.path, trained.path], inputs, tmp_path / "out.nc")
    kelvin = make_field().isel(time=slice(0, 40))
    kelvin["skt"] = kelvin.sst.assign_attrs(units="K")
    path = write(kelvin, tmp_path / "two.nc")
    data = {"dataset": {"name": "netcdf", "path": str(path), "variables": ["skt"]}}
    with pytest.raises(DataError, match=r"forecasts skt \[K\], but .* sst \[degC\]"):
        predict([trained.path, make_run(3, data=data).path], path, tmp_path / "out.nc")
