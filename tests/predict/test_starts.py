"""Any start, several, and spans of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stkit.errors import UsageError
from stkit.predict.forecast import predict
from stkit.run.directory import RunDirectory
from tests.predict.conftest import MakeRun, make_field, opened, write


def test_several_starts_are_the_single_ones_one_after_the_other(
    trained: RunDirectory, inputs: Path, tmp_path: Path
) -> None:
    done = predict(trained.path, inputs, tmp_path / "all.nc", starts=["2003-06", "2002", "2003-06-01"], horizon=3)
    assert done.starts == ("2002-12-01", "2003-06-01")
    whole = opened(tmp_path / "all.nc")
    for number, start in enumerate(done.starts):
        predict(trained.path, inputs, tmp_path / f"{number}.nc", starts=[start], horizon=3)
        single = opened(tmp_path / f"{number}.nc")
        np.testing.assert_allclose(whole.sst.values[number], single.sst.values[0], rtol=1e-5)
        np.testing.assert_array_equal(whole.valid_time.values[number], single.valid_time.values[0])


def test_every_start_of_a_span(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    done = predict(trained.path, inputs, tmp_path / "a.nc", starts=["2002-02..2003-01"], every=3)
    assert done.starts == ("2002-02-01", "2002-05-01", "2002-08-01", "2002-11-01")
    done = predict(trained.path, inputs, tmp_path / "b.zarr", starts=["2003..2004", "2002-07"])
    assert (len(done.starts), done.starts[0], done.starts[-1]) == (17, "2002-07-01", "2004-04-01")
    assert opened(tmp_path / "b.zarr").sizes["time"] == 17


def test_starts_of_a_span_without_enough_frames_are_left_out_and_said(
    trained: RunDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(make_field().isel(time=slice(0, 40)).drop_isel(time=[20]), tmp_path / "gap.nc")
    done = predict(trained.path, path, tmp_path / "out.nc", starts=["2001-02..2003-01"])
    assert "2001-03-01" in done.starts
    assert not {"2001-02-01", "2002-10-01", "2002-11-01"} & set(done.starts)
    assert "2002-12-01" in done.starts
    assert "3 of 23 starts are left out" in caplog.text


def test_frames_without_times_are_numbered(make_run: MakeRun, tmp_path: Path) -> None:
    plain = make_field().drop_vars("time")
    path = write(plain, tmp_path / "frames.nc")
    data = {
        "dataset": {"name": "netcdf", "path": str(path)},
        "transforms": {},
        "extra_inputs": ["mask"],
        "departure_from": "none",
    }
    run = make_run(data=data)
    done = predict(run.path, path, tmp_path / "out.nc", starts=["4..8", "20"], every=2)
    assert done.starts == ("4", "6", "8", "20")
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as found:
        assert found.sst.dims == ("window", "lead_time", "latitude", "longitude")
        np.testing.assert_array_equal(found.window.values, [4, 6, 8, 20])
    with pytest.raises(UsageError, match="has no times, so give the number of a frame, 0 to 71"):
        predict(run.path, path, tmp_path / "no.nc", starts=["2004-01"])
    with pytest.raises(UsageError, match="one start on a record with times"):
        predict(run.path, path, tmp_path / "no.nc", by_valid_time=True)


def test_without_a_file_the_runs_own_data_are_read(trained: RunDirectory, field_path: Path, tmp_path: Path) -> None:
    done = predict(trained.path, None, tmp_path / "own.nc")
    assert done.starts == ("2006-12-01",)
    predict(trained.path, field_path, tmp_path / "named.nc")
    xr.testing.assert_equal(opened(tmp_path / "own.nc"), opened(tmp_path / "named.nc"))


def test_sequences_are_no_record_to_start_from(make_run: MakeRun, tmp_path: Path) -> None:
    data = {"dataset": {"name": "moving_mnist"}, "transforms": {}, "extra_inputs": [], "departure_from": "none"}
    run = make_run(data=data, model={"layers": [2], "patch": 8})
    with pytest.raises(UsageError, match="sequences without a common time; name a file"):
        predict(run.path, None, tmp_path / "out.nc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": ["2003-01..2002-01"]}, r"has no frame there; its frames go from 2001-01-01"),
        ({"starts": ["2001-01..2001-02"]}, r"none of the 2 frames there has the 3 consecutive frames"),
        ({"starts": ["2003-01.."]}, r"expected a time such as"),
        ({"every": 2}, r"--every 2: it is for a span of starts"),
        ({"lags": 0}, r"--lags 0: at least one"),
        ({"starts": ["2001-03"], "lags": 2}, r"has 3 time steps up to 2001-03, but the model needs 4"),
        ({"statistics": True}, r"one forecast has no spread"),
        ({"starts": ["2003..2004"], "by_valid_time": True}, r"for one start on a record with times, not for 16 starts"),
    ],
)
def test_what_makes_no_sense_is_told(
    trained: RunDirectory, inputs: Path, tmp_path: Path, options: dict, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        predict(trained.path, inputs, tmp_path / "out.nc", **options)
    assert not (tmp_path / "out.nc").exists()
