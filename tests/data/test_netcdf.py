from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.errors import DataError
from tests.data.fields import dataset, days, months, write


def opened(path: str | tuple[str, ...], **values: Any) -> NetcdfSource:
    return NetcdfSource.from_config(NetcdfConfig.model_validate({"name": "netcdf", "path": path, **values}))


def fields(steps: int = 12, height: int = 4, width: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(15, 5, size=(steps, height, width)).astype(np.float32)


def refused(path: str | tuple[str, ...], message: str, **values: Any) -> None:
    with pytest.raises(DataError, match=message):
        opened(path, **values)


# what is read


def test_a_file_as_it_should_be(tmp_path: Path) -> None:
    values = fields()
    values[:, 0, 0] = np.nan
    data = dataset(values, months(12)).assign_attrs(license="free", references="someone 2020")
    record = opened(write(tmp_path, data))
    assert record.variables[0]._asdict() == {
        "name": "sst",
        "units": "degC",
        "long_name": "temperature",
        "standard_name": "",
    }
    assert (record.steps, record.grid.shape, record.step_name) == (12, (4, 6), "month")
    assert (record.licence, record.citation, record.name) == ("free", "someone 2020", "field.nc")
    np.testing.assert_array_equal(record.times, months(12))
    np.testing.assert_allclose(record.latitude, np.linspace(-4, 4, 4))
    np.testing.assert_allclose(record.longitude, np.linspace(0, 30, 6))
    np.testing.assert_array_equal(record.read(3, 7), values[3:7, None])
    assert record.read(3, 7).dtype == np.float32
    assert record.valid.sum() == 23
    assert not record.valid[0, 0]


@pytest.mark.parametrize("memory_mb", [0, 1024])
def test_reading_from_the_file_is_reading_from_memory(tmp_path: Path, memory_mb: int) -> None:
    values = fields(30)
    path = write(tmp_path, dataset(values, months(30)))
    record = opened(path, memory_mb=memory_mb)
    for start, stop in ((0, 30), (29, 30), (4, 9), (7, 7)):
        np.testing.assert_array_equal(record.read(start, stop), values[start:stop, None])
    again = pickle.loads(pickle.dumps(record))
    np.testing.assert_array_equal(again.read(2, 5), values[2:5, None])
    assert (record._kept is None) == (memory_mb == 0)


@pytest.mark.parametrize(
    ("names", "attributes"),
    [
        (("time", "lat", "lon"), [{}, {}, {}]),
        (("t", "y", "x"), [{}, {}, {}]),
        (("valid_time", "nav_lat", "nav_lon"), [{}, {}, {}]),
        (("a", "b", "c"), [{"axis": "T"}, {"axis": "Y"}, {"axis": "X"}]),
        (("a", "b", "c"), [{}, {"units": "degrees_north"}, {"units": "degrees_east"}]),
        (("a", "b", "c"), [{}, {"standard_name": "latitude"}, {"standard_name": "projection_x_coordinate"}]),
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_dimensions_are_found_in_any_order(
    tmp_path: Path, names: tuple[str, ...], attributes: list[dict[str, str]], order: tuple[int, ...]
) -> None:
    values = fields()
    coords = {
        name: (name, value, said)
        for name, value, said in zip(names, (months(12), np.arange(4.0), np.arange(6.0)), attributes, strict=True)
    }
    data = xr.Dataset({"f": (names, values)}, coords=coords).transpose(*(names[i] for i in order))
    record = opened(write(tmp_path, data))
    np.testing.assert_array_equal(record.read(0, 12), values[:, None])
    assert (record.grid.y.name, record.grid.x.name) == names[1:]


def test_dimensions_can_be_given(tmp_path: Path) -> None:
    values = fields()
    path = write(tmp_path, xr.Dataset({"f": (("p", "q", "r"), values)}))
    refused(path, "no variable has a time dimension, rows and columns; it has f\\(p, q, r\\)")
    refused(path, "has no time dimension that can be recognised; its dimensions are p, q, r", variables=["f"])
    refused(
        path, "time dimension 'P' is not one of p, q, r; did you mean 'p'", variables=["f"], dimensions={"time": "P"}
    )
    record = opened(path, dimensions={"time": "q", "y": "p", "x": "r"})
    assert record.times is None
    assert record.step_name == "step"
    assert record.latitude is None
    np.testing.assert_array_equal(record.read(0, 4), values.transpose(1, 0, 2)[:, None])


def test_a_projected_grid_has_no_latitude(tmp_path: Path) -> None:
    data = dataset(fields(), months(12), dims=("time", "y", "x"))
    for name in ("y", "x"):
        data[name].attrs = {"standard_name": f"projection_{name}_coordinate", "units": "km"}
    record = opened(write(tmp_path, data))
    assert record.latitude is None
    assert record.grid.y.units == "km"


def test_further_dimensions(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(12, 3, 4, 6)).astype(np.float32)
    data = dataset(values, months(12), "t", ("time", "depth", "lat", "lon")).assign_coords(depth=[0.5, 10.0, 100.0])
    path = write(tmp_path, data)
    refused(
        path,
        r"further dimension 'depth' of size 3 \(0\.5, 10\.0, 100\.0\); choose one with 'select: \{depth: <value>\}'",
    )
    refused(path, r"'depth' has no entry 11; it has 0\.5, 10\.0, 100\.0", select={"depth": 11})
    np.testing.assert_array_equal(opened(path, select={"depth": 10}).read(0, 12)[:, 0], values[:, 1])
    spread = opened(path, spread="depth")
    assert [variable.name for variable in spread.variables] == ["t_0.5", "t_10.0", "t_100.0"]
    np.testing.assert_array_equal(spread.read(0, 12), values)
    bare = write(tmp_path, data.drop_vars("depth"), "bare.nc")
    np.testing.assert_array_equal(opened(bare, select={"depth": 2}).read(0, 12)[:, 0], values[:, 2])
    refused(bare, "select a number from 0 to 2, got 3", select={"depth": 3})
    single = write(tmp_path, data.isel(depth=[1]), "single.nc")
    np.testing.assert_array_equal(opened(single).read(0, 12)[:, 0], values[:, 1])


def test_several_variables(tmp_path: Path) -> None:
    a, b = fields(seed=1), fields(seed=2)
    data = dataset(a, months(12), "a").assign(b=(("time", "lat", "lon"), b), flag=("time", np.arange(12)))
    path = write(tmp_path, data)
    np.testing.assert_array_equal(opened(path, variables=["b", "a"]).read(0, 12), np.stack([b, a], 1))
    refused(path, "several variables are fields: a, b; name them in 'variables'")
    refused(path, "variable 'flag' has no row dimension", variables=["a", "flag"])
    odd = write(tmp_path, xr.merge([data[["a"]], dataset(b, months(12), "b", ("time", "south", "lon"))]), "odd.nc")
    refused(odd, "variable 'b' lies on time, south, lon, but 'a' on time, lat, lon", variables=["a", "b"])


def test_a_mask_and_values_that_mean_missing(tmp_path: Path) -> None:
    values = fields()
    values[:, 1, 1] = -999
    values[0, 2, 2] = np.inf
    data = dataset(values, months(12)).assign(sea=(("lat", "lon"), np.eye(4, 6, dtype=np.int8)))
    path = write(tmp_path, data)
    record = opened(path, variables=["sst"], mask="sea", missing_values=[-999])
    np.testing.assert_array_equal(record.valid, np.eye(4, 6, dtype=bool))
    read = record.read(0, 12)
    assert np.isnan(read[:, 0, 1, 1]).all()
    assert np.isnan(read[0, 0, 2, 2])
    assert np.isfinite(read).sum() == 12 * 24 - 13
    refused(path, "no mask variable 'see'; on lat and lon it has sea; did you mean 'sea'", mask="see")
    rows = write(tmp_path, data.assign(rows=data.sea.isel(lon=0)), "rows.nc")
    refused(
        rows, "the mask 'rows' must lie on lat and lon, or on time as well, got lat", mask="rows", variables=["sst"]
    )
    nowhere = write(tmp_path, data.assign(sea=data.sea * 0), "nowhere.nc")
    refused(nowhere, "the mask 'sea' is zero everywhere", mask="sea")


@pytest.mark.parametrize("memory_mb", [0, 1024])
def test_a_mask_that_changes_in_time(tmp_path: Path, memory_mb: int) -> None:
    values, rng = fields(), np.random.default_rng(0)
    open_water = rng.uniform(size=values.shape) < 0.7
    data = dataset(values, months(12)).assign(open=(("time", "lat", "lon"), open_water.astype(np.int8)))
    record = opened(write(tmp_path, data), variables=["sst"], mask="open", memory_mb=memory_mb)
    assert record.mask is None
    np.testing.assert_array_equal(record.read(3, 9)[:, 0], np.where(open_water, values, np.nan)[3:9])


def test_a_variable_without_time(tmp_path: Path) -> None:
    values = fields()
    data = dataset(values, months(12)).assign(depth=(("lat", "lon"), values[0] * 2), level=(("lat",), values[0, :, 0]))
    path = write(tmp_path, data)
    for memory_mb in (0, 1024):
        record = opened(path, variables=["depth", "sst"], memory_mb=memory_mb)
        np.testing.assert_array_equal(record.read(3, 9)[:, 0], np.broadcast_to(values[0] * 2, (6, 4, 6)))
        np.testing.assert_array_equal(record.read_variables(3, 9, [1])[:, 0], values[3:9])
    refused(path, "variable 'depth' has no time dimension", variables=["depth"])
    refused(path, "variable 'level' has no time dimension", variables=["sst", "level"])


def test_packed_integers_are_unpacked(tmp_path: Path) -> None:
    values = fields()
    values[2, 1, 1] = np.nan
    encoding = {"sst": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 10.0, "_FillValue": -32768}}
    path = tmp_path / "packed.nc"
    dataset(values, months(12)).to_netcdf(path, engine="h5netcdf", encoding=encoding)
    np.testing.assert_allclose(opened(str(path)).read(0, 12)[:, 0], values, atol=0.006)


def test_the_classic_format(tmp_path: Path) -> None:
    values = fields()
    path = tmp_path / "classic.nc"
    dataset(values, months(12)).to_netcdf(path, engine="scipy")
    np.testing.assert_array_equal(opened(str(path)).read(2, 9), values[2:9, None])


def test_model_calendars(tmp_path: Path) -> None:
    data = dataset(fields(24)).assign_coords(time=("time", np.arange(24) * 30.0 + 15))
    data.time.attrs = {"units": "days since 2000-01-01", "calendar": "360_day"}
    record = opened(write(tmp_path, data))
    assert record.step_name == "month"
    assert [str(time)[:10] for time in record.times[[0, 1, -1]]] == ["2000-01-16", "2000-02-16", "2001-12-16"]


# several files


def yearly(tmp_path: Path, **changes: xr.Dataset) -> list[str]:
    times = months(36)
    parts = {f"y{i}.nc": dataset(fields(12, seed=i), times[12 * i : 12 * i + 12]) for i in range(3)}
    return [write(tmp_path, changes.get(name[:-3], data), name) for name, data in parts.items()]


@pytest.mark.parametrize("memory_mb", [0, 1024])
def test_files_follow_each_other(tmp_path: Path, memory_mb: int) -> None:
    paths = yearly(tmp_path)
    whole = np.concatenate([fields(12, seed=i) for i in range(3)])[:, None]
    for path in (str(tmp_path / "y*.nc"), tuple(reversed(paths)), (paths[2], str(tmp_path / "y[01].nc"))):
        record = opened(path, memory_mb=memory_mb)
        np.testing.assert_array_equal(record.read(0, 36), whole)
        np.testing.assert_array_equal(record.read(10, 27), whole[10:27])
        np.testing.assert_array_equal(record.times, months(36))


def test_files_on_different_grids(tmp_path: Path) -> None:
    yearly(tmp_path, y1=dataset(fields(12, height=5), months(24)[12:]))
    refused(str(tmp_path / "y*.nc"), r"y1\.nc: its grid differs from that of .*y0\.nc: 5 x 6 cells instead of 4 x 6")


def test_files_on_shifted_grids(tmp_path: Path) -> None:
    shifted = dataset(fields(12), months(24)[12:])
    yearly(tmp_path, y1=shifted.assign_coords(lat=shifted.lat + 1).assign_coords(lon=shifted.lon))
    refused(str(tmp_path / "y*.nc"), r"y1\.nc: its grid differs .*: lat from -3 to 5 instead of -4 to 4")


def test_files_that_overlap_in_time(tmp_path: Path) -> None:
    yearly(tmp_path, y1=dataset(fields(12), months(24)[11:23]))
    refused(str(tmp_path / "y*.nc"), r"y1\.nc: starts at 2000-12-16, but .*y0\.nc ends at 2000-12-16")


def test_files_with_a_gap_between(tmp_path: Path) -> None:
    paths = yearly(tmp_path)
    both = (paths[0], paths[2])
    refused(both, "the files after it: the time step is month, but 2000-12-16 is followed by 2002-01-16")
    assert opened(both, allow_gaps=True).steps == 24


def test_files_in_different_units(tmp_path: Path) -> None:
    other = dataset(fields(12), months(24)[12:])
    other.sst.attrs["units"] = "K"
    yearly(tmp_path, y1=other)
    refused(str(tmp_path / "y*.nc"), r"y1\.nc: 'sst' is in 'K', but in .*y0\.nc 'sst' is in 'degC'")
    other.sst.attrs["units"] = "degree_Celsius"
    yearly(tmp_path, y1=other)
    assert opened(str(tmp_path / "y*.nc")).variables[0].units == "degC"


def test_one_file_without_times(tmp_path: Path) -> None:
    yearly(tmp_path, y1=dataset(fields(12)))
    refused(str(tmp_path / "y*.nc"), r"y1\.nc: has no times, but .*y0\.nc has")


def test_longitudes_of_either_convention(tmp_path: Path) -> None:
    """0 to 360 and -180 to 180 name the same cells, in one file after another and within one file."""
    east, west = np.arange(6) * 10.0 + 340, np.arange(6) * 10.0 - 20
    times = months(24)
    for name, longitude, when in (
        ("a", east, times[:12]),
        ("b", west, times[12:]),
        ("c", (west + 360) % 360, times[:12]),
    ):
        write(
            tmp_path, dataset(fields(12), when).assign_coords(lon=("lon", longitude, {"units": "degrees_east"})), name
        )
    assert opened((str(tmp_path / "a"), str(tmp_path / "b"))).steps == 24
    wrapped = opened(str(tmp_path / "c")).longitude
    assert wrapped is not None
    np.testing.assert_allclose(np.diff(wrapped), 10)
    shifted = dataset(fields(12), times[12:]).assign_coords(lon=("lon", west + 10, {"units": "degrees_east"}))
    refused((str(tmp_path / "a"), write(tmp_path, shifted, "d")), "lon from -10 to 40 instead of 340 to 390")


def test_rows_that_fall(tmp_path: Path) -> None:
    falling = dataset(fields(), months(12)).isel(lat=slice(None, None, -1))
    record = opened(write(tmp_path, falling))
    assert record.latitude is not None
    assert record.latitude[0] > record.latitude[-1]
    np.testing.assert_array_equal(record.read(0, 12)[:, 0], fields()[:, ::-1])


# what is refused


@pytest.mark.parametrize("order", [[0, 1, 3, 2], [0, 1, 1, 2], [2, 2, 1, 0]])
def test_rows_in_no_order(tmp_path: Path, order: list[int]) -> None:
    path = write(tmp_path, dataset(fields(), months(12)).isel(lat=order))
    refused(path, "'lat' neither rises nor falls throughout: .* sort the file by it")


@pytest.mark.parametrize("fill", [1e20, -9.96921e36])
def test_fill_values_that_the_file_does_not_declare(tmp_path: Path, fill: float) -> None:
    values = fields()
    values[2, 1, 3] = fill
    path = write(tmp_path, dataset(values, months(12)))
    record = opened(path, memory_mb=0)
    with pytest.raises(DataError, match=r"looks like a fill value that the file does not declare; say missing_values"):
        record.read(0, 12)
    assert np.isnan(opened(path, missing_values=[fill]).read(2, 3)[0, 0, 1, 3])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, dataset(fields(), months(12)))
    refused(
        path.replace("field", "feild"), r"no such file: '.*feild\.nc' \(looked from .*\); did you mean 'field\.nc'\?"
    )
    refused(str(tmp_path / "none" / "a.nc"), "there is no folder '.*none'")
    refused(str(tmp_path), r"is a folder; give a file, or a pattern such as '.*\*\.nc'")
    refused(str(tmp_path / "*.nc4"), r"no file matches '.*\*\.nc4' \(looked from ")
    refused((), "'path' names no file")


def test_a_variable_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, dataset(fields(), months(12)))
    refused(path, r"field\.nc: no variable 'SSt'; it has sst; did you mean 'sst'\?", variables=["SSt"])


def test_a_file_that_is_no_netcdf(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_text("time,lat,lon\n")
    refused(str(tmp_path / "a.nc"), r"a\.nc: not a NetCDF file \(it starts with b'time,lat'\)")
    (tmp_path / "b.nc").write_bytes(b"")
    refused(str(tmp_path / "b.nc"), r"b\.nc: the file is empty")


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = Path(write(tmp_path, dataset(fields(200, 20, 20), months(200))))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(str(path), r"field\.nc: cannot be read as NetCDF; it may be cut short")


def test_a_file_that_is_cut_short_inside_the_classic_format(tmp_path: Path) -> None:
    path = tmp_path / "classic.nc"
    dataset(fields(200, 20, 20), months(200)).to_netcdf(path, engine="scipy")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=re.escape(str(path))):
        opened(str(path)).read(0, 200)


def test_times_that_do_not_rise(tmp_path: Path) -> None:
    for order, kind in (([0, 2, 1, 3], "out of order"), ([0, 1, 1, 2], "twice")):
        path = write(tmp_path, dataset(fields(4), days(4)[order]))
        refused(path, f"times must strictly increase, but 2001-01-0. .* comes {kind}")


def test_times_with_a_gap(tmp_path: Path) -> None:
    path = write(tmp_path, dataset(fields(6), days(10)[[0, 1, 2, 5, 6, 7]]))
    refused(path, "the time step is day, but 2001-01-03 is followed by 2001-01-06 .*allow_gaps: true")
    assert opened(path, allow_gaps=True).steps == 6


def test_no_time_at_all(tmp_path: Path) -> None:
    data = dataset(fields(), months(12)).isel(time=0)
    refused(write(tmp_path, data), r"no variable has a time dimension, rows and columns; it has sst\(lat, lon\)")
    refused(
        write(tmp_path, data), "variable 'sst' has no time dimension .* its dimensions are lat, lon", variables=["sst"]
    )
    empty = write(tmp_path, dataset(fields(), months(12)).isel(time=slice(0)), "empty.nc")
    refused(empty, "the time dimension 'time' has no entry")


def test_text_is_no_field(tmp_path: Path) -> None:
    data = dataset(fields(), months(12)).assign(name=(("time", "lat", "lon"), np.full((12, 4, 6), "a")))
    refused(write(tmp_path, data), "variable 'name' holds .*, not numbers", variables=["name"])
