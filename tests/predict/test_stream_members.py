"""Streams with several runs, earlier states and forcing: each forecast is that of the command without a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from stkit.cli.main import run as stkit
from stkit.errors import DataError, UsageError
from stkit.predict.forcing import positions
from stkit.predict.forecast import predict
from stkit.predict.stream import follow
from stkit.predict.stream_options import StreamOptions
from stkit.run.directory import RunDirectory
from tests.predict.conftest import MakeRun, make_field, months, opened, write

ONCE = StreamOptions(once=True)


def with_wind() -> xr.Dataset:
    field = make_field()
    wind = np.random.default_rng(3).normal(5, 2, field.sst.shape).astype(np.float32)
    return field.assign(wind=(field.sst.dims, wind, {"units": "m s-1"}))


@pytest.fixture(scope="module")
def forced(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = write(with_wind(), tmp_path_factory.mktemp("forced") / "ocean.nc")
    return make_run(
        2,
        data={
            "dataset": {"name": "netcdf", "path": str(path), "variables": ["sst", "wind"]},
            "roles": {"forcing": ["wind"]},
        },
    )


@pytest.fixture(scope="module")
def other(make_run: MakeRun) -> RunDirectory:
    """Another recipe, which looks back further and takes no forcing."""
    return make_run(7, model={"name": "convlstm", "layers": [2]}, data={"input_steps": 4, "departure_from": "none"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


def put(folder: Path, steps: Sequence[int]) -> None:
    field = make_field()
    for step in steps:
        write(field.isel(time=[step]), folder / f"frame-{step:03d}.nc")


def put_wind(path: Path, first: int, stop: int) -> Path:
    return write(with_wind()[["wind"]].isel(time=slice(first, stop)), path)


def whole(runs: Sequence[RunDirectory], tmp_path: Path, start: str, **options: Any) -> np.ndarray:
    out = tmp_path / "batch.nc"
    field = write(make_field(), tmp_path / "whole.nc")
    predict([run.path for run in runs], field, out, starts=[start], overwrite=True, **options)
    return opened(out).sst.values[0]


def starts(out: Path) -> list[str]:
    return [path.stem[9:15] for path in sorted(out.glob("forecast-*.nc"))]


def test_members_and_lags_are_those_of_the_command(
    trained: RunDirectory, other: RunDirectory, folder: Path, tmp_path: Path
) -> None:
    """From a stream that was stopped in between; the first forecast is made when every member has what it needs."""
    runs, out = [trained.path, other.path], tmp_path / "out"
    options = StreamOptions(once=True, fresh=True, lags=2, statistics=True)
    for steps in (range(30, 33), range(33, 35), range(35, 37)):
        put(folder, steps)
        follow(runs, folder, out, options)
    assert starts(out) == ["200311", "200312", "200401"]
    found = opened(out / "forecast-20040101T000000.nc")
    expected = whole([trained, other], tmp_path, "2004-01", lags=2)
    np.testing.assert_allclose(found.sst.values[0], expected, rtol=1e-5)
    xr.testing.assert_allclose(found.sst_spread, found.sst.std("realization", ddof=1, skipna=False))
    np.testing.assert_array_equal(found.member_lag, [0, 1, 0, 1])
    with pytest.raises(UsageError, match=r"the stream of another run or of other weights .*2 lags; this is"):
        follow(runs, folder, out, ONCE)


def test_forcing_comes_from_a_file_of_its_own(forced: RunDirectory, folder: Path, tmp_path: Path) -> None:
    wind, out = put_wind(tmp_path / "wind.nc", 20, 50), tmp_path / "out"
    put(folder, range(30, 36))
    done = follow(forced.path, folder, out, StreamOptions(once=True, fresh=True, lags=2), forcing=wind)
    assert (done.frames, done.forecasts) == (6, 3)
    found = opened(out / "forecast-20031201T000000.nc").sst.values[0]
    np.testing.assert_allclose(found, whole([forced], tmp_path, "2003-12", lags=2, forcing=wind), rtol=1e-5)
    calm = with_wind()[["wind"]].map(lambda wind: wind * 0, keep_attrs=True)
    still = write(calm, tmp_path / "still.nc")
    assert np.nanmax(np.abs(whole([forced], tmp_path, "2003-12", lags=2, forcing=still) - found)) > 1e-3


def test_a_frame_waits_for_its_forcing(
    forced: RunDirectory, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is written anew, each time from its newest forecast on; what it had before is remembered."""
    wind, out = put_wind(tmp_path / "wind.nc", 30, 36), tmp_path / "out"
    put(folder, range(30, 35))
    done = follow(forced.path, folder, out, ONCE, forcing=wind)
    assert (done.frames, starts(out)) == (4, ["200309", "200310"])
    (told,) = caplog.messages
    assert told.startswith("frame-034.nc: waits for its forcing: ")
    assert "needs the forcing wind at every step up to 2004-01-01, but the file has times up to 2003-12-01" in told
    for step in (34, 35, 36):
        put(folder, [step])
        put_wind(wind, step, step + 3)
        done = follow(forced.path, folder, out, StreamOptions(once=True, fresh=True), forcing=wind)
        assert (done.frames, done.refused) == (1, 0)
    found = opened(out / "forecast-20040101T000000.nc").sst.values[0]
    every = put_wind(tmp_path / "every.nc", 0, 60)
    np.testing.assert_allclose(found, whole([forced], tmp_path, "2004-01", forcing=every), rtol=1e-5)


def test_a_gap_without_forcing_begins_the_stream_anew(
    forced: RunDirectory, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wind, out = put_wind(tmp_path / "wind.nc", 30, 36), tmp_path / "out"
    put(folder, range(30, 34))
    follow(forced.path, folder, out, ONCE, forcing=wind)
    put(folder, [35])
    put_wind(wind, 35, 42)
    assert follow(forced.path, folder, out, ONCE, forcing=wind).stood_in == 1, "remembered from the forecast before"
    put(folder, [41])
    put_wind(wind, 41, 50)
    done = follow(forced.path, folder, out, StreamOptions(once=True, max_gap=9), forcing=wind)
    assert (done.stood_in, done.restarts) == (0, 1)
    assert "5 frames before 2004-06-01 did not come, and neither did their forcing" in caplog.text


def test_an_ensemble_of_a_run_with_forcing_and_one_without(
    forced: RunDirectory, other: RunDirectory, tmp_path: Path
) -> None:
    """In one file, which goes on with the forcing where the state ends, or in two."""
    field = with_wind().isel(time=slice(0, 44))
    field.sst[40:] = np.nan
    both = write(field, tmp_path / "both.nc")
    done = predict([other.path, forced.path], both, tmp_path / "one.nc", lags=2)
    assert (done.members, done.starts) == (4, ("2004-04-01",))
    state = write(field[["sst"]].isel(time=slice(0, 40)), tmp_path / "state.nc")
    wind = put_wind(tmp_path / "wind.nc", 30, 44)
    predict([other.path, forced.path], state, tmp_path / "two.nc", lags=2, forcing=wind)
    one, two = opened(tmp_path / "one.nc"), opened(tmp_path / "two.nc")
    xr.testing.assert_allclose(one.sst, two.sst)
    predict(forced.path, state, tmp_path / "alone.nc", forcing=wind)
    np.testing.assert_allclose(two.sst[0, 2], opened(tmp_path / "alone.nc").sst[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda wind: wind.isel(time=slice(0, 41)), "wind at every step up to 2004-06-01, .* times up to 2004-05-01"),
        (lambda wind: wind.isel(time=slice(39, 60)), "up to 2004-06-01 from 2004-02-01 on, .* times from 2004-04-01"),
        (lambda wind: wind.isel(time=[*range(38), *range(39, 60)]), "the file has none at 2004-03-01: add it"),
        (lambda wind: wind.isel(lon=slice(0, 5)), "its grid differs from that of input.nc: 6 x 5 cells instead of 6 x"),
        (lambda wind: wind.wind.assign_attrs(units="kt").to_dataset(), "'wind' is in 'kt', but the model was trained"),
        (lambda wind: wind.rename(wind="gust"), "no variable 'wind'; it has gust"),
        (lambda wind: wind.drop_vars("time"), "has no times that can be understood, so the forcing has no place"),
    ],
)
def test_forcing_that_does_not_fit(
    forced: RunDirectory, inputs: Path, tmp_path: Path, change: Any, message: str
) -> None:
    path = write(change(with_wind()[["wind"]]), tmp_path / "wind.nc")
    with pytest.raises(DataError, match=message):
        predict(forced.path, inputs, tmp_path / "out.nc", forcing=path)
    assert not (tmp_path / "out.nc").exists()


def test_a_stream_says_what_it_lacks(
    forced: RunDirectory,
    trained: RunDirectory,
    make_run: MakeRun,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["predict", str(forced.path), "--stream", str(folder), "-o", str(tmp_path / "out"), "--once"]
    assert stkit(arguments) == 2
    assert "the model needs the forcing wind of the future" in " ".join(capsys.readouterr().err.split())
    assert stkit([*arguments, "--forcing", "nothing.nc"]) == 2
    assert "no such file: 'nothing.nc'" in " ".join(capsys.readouterr().err.split())
    ocean = write(with_wind(), tmp_path / "ocean.nc")
    both = make_run(4, data={"dataset": {"name": "netcdf", "path": str(ocean), "variables": ["wind"]}})
    with pytest.raises(DataError, match=r"forecasts wind \[m s-1\], but .* sst \[degC\]"):
        follow([trained.path, both.path], folder, tmp_path / "out", ONCE)
    put(folder, [30])
    small = write(with_wind()[["wind"]].isel(lat=slice(0, 4)), tmp_path / "small.nc")
    with pytest.raises(DataError, match=r"small.nc: its grid differs from that of the frames: 4 x 9 cells"):
        follow(forced.path, folder, tmp_path / "out", ONCE, forcing=small)


def test_positions_go_by_the_calendar() -> None:
    middle = months("2001-01", 6) + np.timedelta64(15, "D")
    month, day = np.timedelta64(30, "D"), np.timedelta64(1, "D")
    np.testing.assert_array_equal(positions(months("2001-03", 2), middle, month), [2, 3])
    np.testing.assert_array_equal(positions(months("2001-06", 2), middle, month), [5, -1])
    days = np.datetime64("2001-01-01", "ns") + np.arange(4) * day
    shifted = days + np.timedelta64(2, "h")
    np.testing.assert_array_equal(positions(shifted, days, day), [0, 1, 2, 3])
    np.testing.assert_array_equal(positions(days + np.timedelta64(6, "h"), days, day), [-1] * 4)
    np.testing.assert_array_equal(positions(days, days[:0], day), [-1] * 4)
