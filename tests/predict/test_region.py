"""Another part of the grid than that of the training, or a larger one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stkit.errors import DataError
from stkit.predict.forecast import predict
from stkit.run.directory import RunDirectory
from tests.predict.conftest import MakeRun, make_field, opened, write


def test_a_part_of_the_grid_has_the_statistics_of_its_cells(make_run: MakeRun, tmp_path: Path) -> None:
    """A network that looks at its own cell alone says the same of a part as of the whole."""
    run = make_run(model={"layers": [3], "cell": {"kernel": 1}}, data={"extra_inputs": ["calendar"]})
    whole = write(make_field(), tmp_path / "whole.nc")
    part = write(make_field().isel(lat=slice(1, 5), lon=slice(2, 9)), tmp_path / "part.nc")
    predict(run.path, whole, tmp_path / "whole-out.nc", horizon=3)
    predict(run.path, part, tmp_path / "part-out.nc", horizon=3)
    expected = opened(tmp_path / "whole-out.nc").isel(latitude=slice(1, 5), longitude=slice(2, 9))
    found = opened(tmp_path / "part-out.nc")
    np.testing.assert_allclose(found.sst.values, expected.sst.values, rtol=1e-5)
    np.testing.assert_array_equal(found.latitude.values, expected.latitude.values)
    assert "a part of the grid of the training" in found.attrs["comment"]


def test_a_larger_region_where_nothing_belongs_to_cells(anywhere: RunDirectory, tmp_path: Path) -> None:
    larger = make_field(9, 14, top=-2, left=-3)
    out = tmp_path / "out.nc"
    predict(anywhere.path, write(larger, tmp_path / "larger.nc"), out)
    found = opened(out)
    assert found.sst.shape == (1, 2, 9, 14)
    np.testing.assert_array_equal(np.isnan(found.sst.values[0, 0]), np.isnan(larger.sst.values[0]))
    assert "the mask is that of the new fields; all statistics are those of the training" in found.attrs["comment"]


def test_a_larger_region_is_the_trained_one_far_from_its_border(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(
        model={"layers": [3], "cell": {"kernel": 1}},
        data={"transforms": {}, "departure_from": "none", "extra_inputs": []},
    )
    predict(run.path, write(make_field(), tmp_path / "small.nc"), tmp_path / "small-out.nc")
    predict(run.path, write(make_field(9, 14, -2, -3), tmp_path / "large.nc"), tmp_path / "large-out.nc")
    large = opened(tmp_path / "large-out.nc").sst.values[..., 2:8, 3:12]
    np.testing.assert_allclose(large, opened(tmp_path / "small-out.nc").sst.values, rtol=1e-5)


def test_a_climatology_of_cells_is_refused_elsewhere_with_the_reason(trained: RunDirectory, tmp_path: Path) -> None:
    path = write(make_field(9, 14, -2, -3), tmp_path / "larger.nc")
    with pytest.raises(DataError, match=r"9 x 14 cells instead of 6 x 9; the climatology .* --refit, or train") as told:
        predict(trained.path, path, tmp_path / "out.nc")
    assert "departures are counted from (departure_from: damped_anomaly)" in str(told.value)
    assert not (tmp_path / "out.nc").exists()


def test_a_climatology_of_the_new_cells_on_request(trained: RunDirectory, tmp_path: Path) -> None:
    """It knows nothing after the first start; where the cells are those of the training, so is the forecast."""
    field = make_field(9, 14, -2, -3)
    whole, changed = write(field, tmp_path / "whole.nc"), field.copy(deep=True)
    changed.sst[50:] = 1e3
    out = tmp_path / "out.nc"
    predict(trained.path, whole, out, refit=True, starts=["2005-02"])
    found = opened(out)
    assert "are those of the new fields in 2001-01-01 to 2005-02-01" in found.attrs["comment"]
    np.testing.assert_array_equal(np.isnan(found.sst.values[0, 0]), np.isnan(field.sst.values[0]))
    assert np.nanmax(np.abs(found.sst.values - 20)) < 12
    predict(trained.path, write(changed, tmp_path / "changed.nc"), tmp_path / "b.nc", refit=True, starts=["2005-02"])
    xr.testing.assert_equal(opened(tmp_path / "b.nc"), found)
    with pytest.raises(DataError, match=r"2001-01-01 to 2003-02-01 only: three years are needed"):
        predict(trained.path, whole, tmp_path / "c.nc", refit=True, starts=["2003-02"])


def test_statistics_of_each_cell(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(data={"transforms": {"standardise": "cell"}, "departure_from": "none"})
    path = write(make_field(9, 14, -2, -3), tmp_path / "larger.nc")
    with pytest.raises(DataError, match="mean and deviation of each cell belong"):
        predict(run.path, path, tmp_path / "out.nc")
    predict(run.path, path, tmp_path / "out.nc", refit=True)
    assert np.isfinite(opened(tmp_path / "out.nc").sst.values[..., 6:, :]).all()


def test_weights_of_each_cell_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(
        model={"name": "convlstm", "layers": [2], "cell": {"kernel": 3, "peephole": "pixel"}},
        data={"transforms": {}, "departure_from": "none"},
    )
    path = write(make_field(9, 14, -2, -3), tmp_path / "larger.nc")
    with pytest.raises(DataError, match="of its weights belong to the cells of that grid"):
        predict(run.path, path, tmp_path / "out.nc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda field: field.isel(lat=slice(None, None, -1)), r"cells in lat are -10 apart, those of the training 10"),
        (lambda field: field.assign_coords(lon=field.lon * 2), r"cells in lon are 5 apart, those of the training 2.5"),
    ],
)
def test_other_cells_are_refused(anywhere: RunDirectory, tmp_path: Path, change: object, message: str) -> None:
    path = write(change(make_field(9, 14)), tmp_path / "other.nc")  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        predict(anywhere.path, path, tmp_path / "out.nc")
