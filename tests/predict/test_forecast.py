"""``stkit predict``: from a user's file, without future frames, any horizon; each misfit is one clear message."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stkit.cli.main import run as stkit
from stkit.errors import DataError, StkitError, UsageError
from stkit.predict.forecast import predict
from stkit.run.directory import RunDirectory
from stkit.run.load import load
from tests.predict.conftest import HORIZON, INPUT_STEPS, make_field, opened, write


def test_it_is_what_the_forecaster_says(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    done = predict(trained.path, inputs, tmp_path / "out.nc")
    field = make_field().isel(time=slice(40 - INPUT_STEPS, 40))
    expected = load(trained.path)(field.sst.values[None, :, None], HORIZON, times=field.time.values[None])
    forecast = opened(tmp_path / "out.nc")
    np.testing.assert_array_equal(forecast.sst.values[0], expected[0, :, 0].numpy())
    assert forecast.sst.dims == ("time", "lead_time", "latitude", "longitude")
    assert forecast.time.values[0] == np.datetime64("2004-04-01")
    np.testing.assert_array_equal(
        forecast.valid_time.values[0], np.array(["2004-05-01", "2004-06-01"], dtype="datetime64[ns]")
    )
    assert np.isnan(forecast.sst.values[..., :2, :3]).all()
    assert forecast.attrs["Conventions"] == "CF-1.8"
    assert (done.starts, done.last, done.step, done.horizon) == (("2004-04-01",), "2004-06-01", "month", HORIZON)


def test_nothing_after_the_start_is_read(trained: RunDirectory, tmp_path: Path) -> None:
    field = make_field()
    cut = write(field.isel(time=slice(0, 30)), tmp_path / "cut.nc")
    field.sst[30:] = 1e6
    changed = write(field, tmp_path / "changed.nc")
    predict(trained.path, cut, tmp_path / "a.nc", horizon=4)
    predict(trained.path, changed, tmp_path / "b.nc", horizon=4, starts=["2003-06"])
    xr.testing.assert_equal(opened(tmp_path / "a.nc"), opened(tmp_path / "b.nc"))


def test_a_longer_horizon_begins_with_the_shorter_one(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    predict(trained.path, inputs, tmp_path / "short.nc", horizon=1)
    done = predict(trained.path, inputs, tmp_path / "long.nc", horizon=14)
    short, long = opened(tmp_path / "short.nc"), opened(tmp_path / "long.nc")
    np.testing.assert_allclose(long.sst.values[:, :1], short.sst.values, rtol=1e-6)
    assert long.sizes["lead_time"] == 14
    assert np.isfinite(long.sst.values[..., 2:, :]).all()
    assert "longer than the model was trained for" in long.attrs["comment"]
    assert done.last == "2005-06-01"


def test_only_as_many_frames_as_the_model_needs(trained: RunDirectory, tmp_path: Path) -> None:
    field = make_field()
    few = write(field.isel(time=slice(37, 40)), tmp_path / "few.nc")
    predict(trained.path, few, tmp_path / "few-out.nc")
    predict(trained.path, write(field.isel(time=slice(0, 40)), tmp_path / "all.nc"), tmp_path / "all-out.nc")
    xr.testing.assert_equal(opened(tmp_path / "few-out.nc"), opened(tmp_path / "all-out.nc"))


def test_the_start_is_the_last_frame_within_what_is_named(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    done = predict(trained.path, inputs, tmp_path / "out.nc", starts=["2002"])
    assert done.starts == ("2002-12-01",)


def test_nothing_is_overwritten_unasked(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nc"
    out.write_text("mine")
    with pytest.raises(UsageError, match="the file exists; --overwrite"):
        predict(trained.path, inputs, out)
    assert out.read_text() == "mine"
    predict(trained.path, inputs, out, overwrite=True)
    assert opened(out).sizes["time"] == 1
    with pytest.raises(UsageError, match="the input itself"):
        predict(trained.path, inputs, inputs, overwrite=True)


def change(**changes: object) -> xr.Dataset:
    """The field with something that does not fit."""
    field = make_field().isel(time=slice(0, 40))
    for what, value in changes.items():
        if what == "name":
            field = field.rename(sst=value)
        elif what == "units":
            field.sst.attrs["units"] = value
        elif what == "every":
            field = field.isel(time=slice(0, 40, value))
        elif what == "without":
            field = field.drop_isel(time=[value])
        elif what == "flipped":
            field = field.isel(lat=slice(None, None, -1))
        elif what == "steps":
            field = field.isel(time=slice(0, value))
        elif what == "missing":
            field.sst[-INPUT_STEPS:] = np.nan
        elif what == "timeless":
            field = field.drop_vars("time")
    return field


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "ssd"}, r"no variable 'sst'; it has ssd; did you mean 'ssd'"),
        ({"units": "K"}, r"'sst' is in 'K', but the model was trained on 'degC'"),
        ({"every": 2}, r"its time step is 61 days, but the model was trained on steps of one month"),
        ({"without": 38}, r"between 2004-02-01 and 2004-04-01 frames are missing"),
        ({"flipped": True}, r"lat from 0 to -50 instead of -50 to 0"),
        ({"steps": 2}, r"has 2 time steps, but the model needs 3"),
        ({"missing": True}, r"'sst' is missing \(NaN\) at every cell"),
        ({"timeless": True}, r"has no times"),
    ],
)
def test_what_does_not_fit_is_told(
    trained: RunDirectory, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = write(change(**changes), tmp_path / "input.nc")
    out = tmp_path / "out.nc"
    with pytest.raises(DataError, match=message) as caught:
        predict(trained.path, path, out)
    assert str(path) in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"starts": ["2010-01"]},
            r"no frame there; its frames go from 2001-01-01 to 2004-04-01, the nearest is 2004-04-01",
        ),
        ({"starts": ["2001-02"]}, r"has 2 time steps up to 2001-02, but the model needs 3"),
        ({"starts": ["yesterday"]}, r"expected a time such as"),
        ({"horizon": 0}, r"at least one step"),
        ({"device": "abacus"}, r"expected cpu, cuda"),
    ],
)
def test_wrong_options_are_told(
    trained: RunDirectory, inputs: Path, tmp_path: Path, options: dict, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        predict(trained.path, inputs, tmp_path / "out.nc", **options)


def test_a_file_that_is_not_there_or_not_netcdf(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file.*did you mean 'input.nc'"):
        predict(trained.path, tmp_path / "imput.nc", tmp_path / "out.nc")
    text = tmp_path / "text.nc"
    text.write_text("not a field")
    with pytest.raises(DataError, match="not a NetCDF file"):
        predict(trained.path, text, tmp_path / "out.nc")
    cut = tmp_path / "cut.nc"
    cut.write_bytes(inputs.read_bytes()[:4000])
    with pytest.raises(DataError):
        predict(trained.path, cut, tmp_path / "out.nc")


def test_names_that_no_file_can_have(trained: RunDirectory, inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"xxx\.nc: cannot be read or written \(File name too long\)"):
        predict(trained.path, tmp_path / f"{'x' * 300}.nc", tmp_path / "out.nc")
    with pytest.raises(UsageError, match=r"xxx\.nc: cannot be read or written \(File name too long\)"):
        predict(trained.path, inputs, Path(f"{'x' * 300}.nc"))
    with pytest.raises(UsageError, match=r"forecasts are NetCDF \(\.nc\) or Zarr \(\.zarr\), not \.csv"):
        predict(trained.path, inputs, tmp_path / "out.csv")


def test_a_full_disk_leaves_nothing_half_written(
    trained: RunDirectory, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stkit.evaluate.forecast_file import ForecastFile

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ForecastFile, "write", full)
    out = tmp_path / "folder" / "out.nc"
    with pytest.raises((OSError, StkitError)):
        predict(trained.path, inputs, out)
    assert list(out.parent.iterdir()) == []


def test_the_command(trained: RunDirectory, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.nc"
    assert stkit(["predict", str(trained.path), str(inputs), "-o", str(out), "--horizon", "5", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["horizon"] == 5
    assert "steps beyond are extrapolated" in told.err
    assert stkit(["predict", str(trained.path), str(inputs), "-o", str(out)]) == 2
    assert "the file exists" in capsys.readouterr().err
    assert stkit(["predict", str(trained.path), str(inputs), "-o", str(out), "--overwrite"]) == 0
    assert "sst, 2 months from 2004-04-01 to 2004-06-01" in capsys.readouterr().out
    assert stkit(["predict", str(tmp_path), str(inputs), "-o", str(out), "--overwrite"]) == 2
    assert "not a run directory" in capsys.readouterr().err
