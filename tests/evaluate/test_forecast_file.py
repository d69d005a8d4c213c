"""The NetCDF file of forecasts: readable by xarray, CF attributes, written whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from stkit.data.calendar import following
from stkit.data.source import Axis, Grid, GridMapping, Places, Variable
from stkit.errors import UsageError
from stkit.evaluate.forecast_file import ForecastFile, forecast_file
from stkit.evaluate.forecast_layout import FILL, Layout, Member, lead_unit

GRID = Grid(
    3,
    4,
    Axis("lat", np.array([-1.0, 0.0, 1.0]), "degrees_north", "latitude"),
    Axis("lon", np.array([0.0, 2.0, 4.0, 6.0]), "degrees_east", "longitude"),
)
SST = Variable("sst", "degC", "sea surface temperature", "sea_surface_temperature")


UTM = GridMapping("crs", {"grid_mapping_name": "transverse_mercator", "false_easting": 5e5, "towgs84": [0.0, 1.0, 2.0]})


def opened(path: Path, **options: Any) -> xr.Dataset:
    """A file or a store, read whole."""
    engine = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    with xr.open_dataset(path, engine=engine, **options) as dataset:
        return dataset.load()


def monthly() -> Layout:
    starts = np.array(["2010-01-16", "2010-02-16"], dtype="datetime64[ns]")
    step = np.timedelta64(30, "D")
    return Layout((SST,), GRID, 2, 3, step, starts, following(starts, 3, step))


def fields(layout: Layout, seed: int = 0) -> np.ndarray:
    shape = (layout.windows, layout.leads, len(layout.variables), *layout.grid.shape)
    values = np.random.default_rng(seed).normal(20, 3, shape).astype(np.float32)
    values[..., 0, 0] = np.nan
    return values


@pytest.mark.parametrize("name", ["forecast.nc", "forecast.zarr"])
@pytest.mark.parametrize("by_valid_time", [False, True])
def test_where_the_cells_of_a_curved_grid_are(tmp_path: Path, name: str, by_valid_time: bool) -> None:
    """Latitude and longitude on rows and columns are coordinates of the field, and its projection is named."""
    places = Places(*np.random.default_rng(1).uniform(0, 60, (2, 3, 4)).astype(np.float32))
    grid = Grid(3, 4, Axis("y", np.arange(3.0), "m", "projection_y_coordinate"), Axis("x"), UTM, places)
    layout = replace(monthly(), grid=grid, windows=1, by_valid_time=by_valid_time)
    layout = replace(layout, starts=layout.starts[:1], valid=layout.valid[:1])
    with forecast_file(tmp_path / name, layout, {}) as file:
        file.write(0, fields(layout))
    found = opened(tmp_path / name)
    assert found.sst.dims[-2:] == ("y", "x")
    for coordinate, values in zip(("latitude", "longitude"), places, strict=True):
        assert found.sst.coords[coordinate].dims == ("y", "x")
        assert found[coordinate].attrs["standard_name"] == coordinate
        np.testing.assert_array_equal(found[coordinate], values)
    assert found.sst.attrs["grid_mapping"] == "crs"


@pytest.mark.parametrize("name", ["forecast.nc", "forecast.zarr"])
def test_a_place_that_cannot_be_written_to(tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_text("a file, no folder")
    with pytest.raises(UsageError, match=rf"text/{name}: cannot be written \("):
        forecast_file(tmp_path / "text" / name, monthly(), {})


def test_xarray_reads_back_what_was_written(tmp_path: Path) -> None:
    layout, path = monthly(), tmp_path / "forecast.nc"
    values = fields(layout)
    with ForecastFile(path, layout, {"title": "a test", "institution": ""}) as file:
        file.write(0, values[:1])
        file.write(1, values[1:])
    with xr.open_dataset(path, engine="h5netcdf", decode_timedelta=True) as dataset:
        assert dataset.sst.dims == ("time", "lead_time", "latitude", "longitude")
        np.testing.assert_array_equal(dataset.sst.values, values[:, :, 0])
        np.testing.assert_array_equal(dataset.time.values, layout.starts)
        np.testing.assert_array_equal(dataset.valid_time.values, layout.valid)
        np.testing.assert_array_equal(dataset.lead_time.values, [1, 2, 3])
        np.testing.assert_array_equal(dataset.latitude.values, GRID.latitude)
        np.testing.assert_array_equal(dataset.longitude.values, GRID.longitude)
        assert str(dataset.valid_time.values[0, 0])[:10] == "2010-02-16"
        assert "valid_time" in dataset.sst.coords
        assert dataset.attrs == {"Conventions": "CF-1.8", "title": "a test"}


def test_attributes_follow_cf(tmp_path: Path) -> None:
    path = tmp_path / "forecast.nc"
    with ForecastFile(path, monthly(), {}) as file:
        file.write(0, fields(monthly()))
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as raw:
        assert raw.sst.attrs["units"] == "degC"
        assert raw.sst.attrs["standard_name"] == "sea_surface_temperature"
        assert raw.sst.attrs["coordinates"] == "valid_time"
        assert raw.sst.attrs["_FillValue"] == FILL
        assert (raw.sst.values[..., 0, 0] == FILL).all()
        assert raw.sst.dtype == np.float32
        assert raw.time.attrs["standard_name"] == "forecast_reference_time"
        assert raw.time.attrs["units"] == "days since 1970-01-01 00:00:00"
        assert raw.time.attrs["axis"] == "T"
        assert raw.lead_time.attrs["standard_name"] == "forecast_period"
        assert raw.lead_time.attrs["units"] == "month"
        assert raw.valid_time.attrs["standard_name"] == "time"
        assert raw.latitude.attrs["units"] == "degrees_north"
        assert raw.longitude.attrs["standard_name"] == "longitude"
        assert raw.latitude.attrs["axis"] == "Y"
        assert "_FillValue" not in raw.latitude.attrs


def test_five_minutes_are_told_in_minutes(tmp_path: Path) -> None:
    step = np.timedelta64(5, "m")
    starts = np.array(["2017-05-09T10:05"], dtype="datetime64[ns]")
    layout = Layout((Variable("rain_rate", "mm/h"),), Grid(3, 4), 1, 2, step, starts, following(starts, 2, step))
    path = tmp_path / "rain.nc"
    with ForecastFile(path, layout, {}) as file:
        file.write(0, fields(layout))
    with xr.open_dataset(path, engine="h5netcdf", decode_timedelta=True) as dataset:
        assert dataset.rain_rate.dims == ("time", "lead_time", "y", "x")
        np.testing.assert_array_equal(dataset.lead_time.values, np.array([5, 10], dtype="timedelta64[m]"))
        np.testing.assert_array_equal(dataset.time.values, starts)
        np.testing.assert_array_equal(dataset.valid_time.values - starts[:, None], [[step, 2 * step]])


def test_sequences_without_times_are_numbered(tmp_path: Path) -> None:
    layout = Layout((Variable("digits"),), Grid(3, 4), 2, 3, None, None, None, numbers=(5, 9))
    path = tmp_path / "digits.nc"
    with ForecastFile(path, layout, {}) as file:
        file.write(0, fields(layout))
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset.digits.dims == ("window", "lead_time", "y", "x")
        np.testing.assert_array_equal(dataset.window.values, [5, 9])
        assert "valid_time" not in dataset


def test_several_variables(tmp_path: Path) -> None:
    plain = monthly()
    layout = Layout((Variable("u", "m s-1"), Variable("v", "m s-1")), GRID, 2, 3, plain.step, plain.starts, plain.valid)
    values = fields(layout)
    with ForecastFile(tmp_path / "wind.nc", layout, {}) as file:
        file.write(0, values)
    with xr.open_dataset(tmp_path / "wind.nc", engine="h5netcdf") as dataset:
        np.testing.assert_array_equal(dataset.v.values, values[:, :, 1])


def written(path: Path, layout: Layout, values: np.ndarray) -> Path:
    with forecast_file(path, layout, {"title": "a test"}) as file:
        file.write(0, values[..., :1, :, :, :, :])
        file.write(1, values[..., 1:, :, :, :, :])
    return path


def ensemble(**more: Any) -> tuple[Layout, np.ndarray]:
    members = (Member("run a", 0), Member("run a", 1), Member("run b", 0))
    layout = replace(monthly(), members=members, statistics=True, **more)
    return layout, np.stack([fields(layout, seed) for seed in range(3)])


@pytest.mark.parametrize("name", ["forecast.nc", "forecast.zarr"])
def test_an_ensemble_has_members_their_mean_and_their_spread(tmp_path: Path, name: str) -> None:
    layout, values = ensemble()
    found = opened(written(tmp_path / name, layout, values), decode_timedelta=True)
    assert found.sst.dims == ("time", "realization", "lead_time", "latitude", "longitude")
    assert found.realization.attrs["standard_name"] == "realization"
    assert found.realization.attrs["comment"] == "0: run a; 1: run a; 2: run b"
    np.testing.assert_array_equal(found.realization.values, [0, 1, 2])
    np.testing.assert_array_equal(found.member_lag.values, [0, 1, 0])
    np.testing.assert_array_equal(found.sst.values, values[:, :, :, 0].swapaxes(0, 1))
    xr.testing.assert_allclose(found.sst_mean, found.sst.mean("realization", skipna=False))
    xr.testing.assert_allclose(found.sst_spread, found.sst.std("realization", ddof=1, skipna=False))
    assert found.sst_spread.attrs["cell_methods"] == "realization: standard_deviation"


def test_a_store_says_what_a_file_says(tmp_path: Path) -> None:
    layout = replace(monthly(), grid=replace(GRID, mapping=UTM))
    in_file = opened(written(tmp_path / "forecast.nc", layout, fields(layout)), decode_timedelta=True)
    in_store = opened(written(tmp_path / "forecast.zarr", layout, fields(layout)), decode_timedelta=True)
    xr.testing.assert_identical(in_store, in_file)
    assert in_store.crs.attrs["grid_mapping_name"] == "transverse_mercator"
    assert in_store.sst.attrs["grid_mapping"] == "crs"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["forecast.nc", "forecast.zarr"])
def test_by_valid_time(tmp_path: Path, name: str) -> None:
    plain = monthly()
    assert plain.starts is not None
    assert plain.valid is not None
    layout = replace(plain, windows=1, starts=plain.starts[:1], valid=plain.valid[:1], by_valid_time=True)
    with forecast_file(tmp_path / name, layout, {}) as file:
        file.write(0, fields(layout))
    found = opened(tmp_path / name, decode_timedelta=True)
    assert found.sst.dims == ("time", "latitude", "longitude")
    np.testing.assert_array_equal(found.time.values, plain.valid[0])
    np.testing.assert_array_equal(found.sst.values, fields(layout)[0, :, 0])
    assert found.forecast_reference_time.values == plain.starts[0]
    np.testing.assert_array_equal(found.sst.lead_time.values, [1, 2, 3])


def test_a_failure_leaves_the_old_store_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "forecast.zarr", monthly(), fields(monthly()))

    def write_half() -> None:
        with forecast_file(path, monthly(), {}) as file:
            file.write(0, fields(monthly(), 1)[:1])
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    np.testing.assert_array_equal(opened(path, decode_timedelta=True).sst.values, fields(monthly())[:, :, 0])
    assert [entry.name for entry in tmp_path.iterdir()] == ["forecast.zarr"]
    again = written(path, monthly(), fields(monthly(), 2))
    np.testing.assert_array_equal(opened(again, decode_timedelta=True).sst.values, fields(monthly(), 2)[:, :, 0])
    assert [entry.name for entry in tmp_path.iterdir()] == ["forecast.zarr"]


def test_without_zarr_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'stkit-torch\[zarr\]'"):
        forecast_file(tmp_path / "forecast.zarr", monthly(), {})


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (np.timedelta64(31, "D"), (1, "month")),
        (np.timedelta64(365, "D"), (1, "year")),
        (np.timedelta64(7, "D"), (7, "days")),
        (np.timedelta64(6, "h"), (6, "hours")),
        (np.timedelta64(90, "m"), (90, "minutes")),
        (np.timedelta64(15, "s"), (15, "seconds")),
        (None, (1, "1")),
    ],
)
def test_lead_units(step: np.timedelta64 | None, expected: tuple[int, str]) -> None:
    assert lead_unit(step) == expected


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "forecast.nc"
    path.write_bytes(b"what was there")

    def write_half() -> None:
        with ForecastFile(path, monthly(), {}) as file:
            file.write(0, fields(monthly())[:1])
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert path.read_bytes() == b"what was there"
    assert [entry.name for entry in tmp_path.iterdir()] == ["forecast.nc"]
