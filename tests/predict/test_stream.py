"""Frames as they arrive: the forecasts of a stream are those of a batch, and what goes wrong on the way is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from stkit.cli.main import run as stkit
from stkit.errors import CheckpointError, UsageError
from stkit.predict.context import steps_between
from stkit.predict.follower import STATE
from stkit.predict.forecast import predict
from stkit.predict.snapshot import Snapshot
from stkit.predict.stream import follow
from stkit.predict.stream_options import Followed, StreamOptions
from stkit.run.directory import RunDirectory
from stkit.run.load import load
from tests.predict.conftest import INPUT_STEPS, MakeRun, make_field, opened, write

ONCE = StreamOptions(once=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


def put(folder: Path, steps: Sequence[int], field: xr.Dataset | None = None) -> None:
    """Files with one frame each."""
    field = make_field() if field is None else field
    for step in steps:
        write(field.isel(time=[step]), folder / f"frame-{step:03d}.nc")


def forecasts(out: Path) -> dict[str, np.ndarray]:
    """By the start's date: ``L H W``."""
    return {path.stem[9:17]: opened(path).sst.values[0] for path in sorted(out.glob("forecast-*.nc"))}


def batch(run: RunDirectory, first: int, last: int, horizon: int) -> np.ndarray:
    known = make_field().isel(time=slice(first, last + 1))
    return load(run.path)(known.sst.values[:, None], horizon, times=known.time.values)[0, :, 0].numpy()


@pytest.mark.parametrize("architecture", ["predrnn", "convlstm", "mim"])
def test_a_stream_says_what_a_batch_with_all_its_frames_says(
    make_run: MakeRun, folder: Path, tmp_path: Path, architecture: str
) -> None:
    run = make_run(5, model={"name": architecture, "layers": [2, 2, 2]})
    put(folder, range(30, 36))
    done = follow(run.path, folder, tmp_path / "out", StreamOptions(once=True, horizon=4))
    assert done == Followed(forecasts=4, frames=6)
    found = forecasts(tmp_path / "out")
    assert list(found) == ["20030901", "20031001", "20031101", "20031201"]
    for number, said in enumerate(found.values()):
        np.testing.assert_allclose(said, batch(run, 30, 32 + number, 4), rtol=1e-5)
    attributes = opened(tmp_path / "out" / "forecast-20030901T000000.nc").attrs
    assert "longer than the model was trained for" in attributes["comment"]


def test_fresh_forecasts_are_those_of_the_command_without_a_stream(
    trained: RunDirectory, folder: Path, tmp_path: Path
) -> None:
    put(folder, range(30, 36))
    follow(trained.path, folder, tmp_path / "out", StreamOptions(once=True, fresh=True))
    path = write(make_field(), tmp_path / "field.nc")
    predict(trained.path, path, tmp_path / "batch.nc", starts=["2003-09..2003-12"])
    expected = opened(tmp_path / "batch.nc").sst.values
    np.testing.assert_allclose(np.stack(list(forecasts(tmp_path / "out").values())), expected, rtol=1e-5)


def test_a_stream_goes_on_where_it_was_stopped(trained: RunDirectory, folder: Path, tmp_path: Path) -> None:
    """Also before it has enough frames; the files may have several frames, or be gone meanwhile."""
    put(folder, range(30, 38))
    follow(trained.path, folder, tmp_path / "whole", ONCE)
    parts = tmp_path / "parts"
    parts.mkdir()
    for first, stop in ((30, 32), (32, 34), (34, 38)):
        write(make_field().isel(time=slice(first, stop)), parts / f"{first}.nc")
        done = follow(trained.path, parts, tmp_path / "out", ONCE)
        assert done.frames == stop - first
        assert done.refused == 0
        (parts / f"{first}.nc").unlink()
    whole, found = forecasts(tmp_path / "whole"), forecasts(tmp_path / "out")
    assert list(found) == list(whole)
    for start, said in found.items():
        np.testing.assert_array_equal(said, whole[start])
    assert follow(trained.path, folder, tmp_path / "whole", ONCE) == Followed()


def test_a_short_gap_is_stepped_over(
    trained: RunDirectory, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, [30, 31, 32, 33, 35])
    done = follow(trained.path, folder, tmp_path / "out", ONCE)
    assert (done.stood_in, done.restarts, done.forecasts) == (1, 0, 3)
    assert "1 frame before 2003-12-01 did not come: forecasts stand in" in caplog.text
    forecaster, field = load(trained.path), make_field()
    stream = forecaster.warm(field.sst.values[30:33, None], field.time.values[30:33])
    frame = torch.from_numpy(field.sst.values[:, None, None])
    _, stream = forecaster.step(frame[33], stream)
    _, stream = forecaster.step(None, stream)
    said, _ = forecaster.step(frame[35], stream)
    found = opened(tmp_path / "out" / "forecast-20031201T000000.nc")
    np.testing.assert_allclose(found.sst.values[0, 0], said[0, 0].numpy(), rtol=1e-5)
    assert "1 frame just before the start did not come" in found.attrs["comment"]


def test_after_a_long_gap_the_stream_begins_anew(
    trained: RunDirectory, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, [30, 31, 32, 36, 37, 38])
    done = follow(trained.path, folder, tmp_path / "out", ONCE)
    assert (done.stood_in, done.restarts, done.forecasts) == (0, 1, 2)
    assert "3 frames before 2004-01-01 did not come: starting again, with a forecast after 3 frames" in caplog.text
    np.testing.assert_allclose(forecasts(tmp_path / "out")["20040301"], batch(trained, 36, 38, 2), rtol=1e-5)
    none = follow(trained.path, folder, tmp_path / "strict", StreamOptions(once=True, max_gap=3))
    assert (none.stood_in, none.restarts) == (3, 0)


def test_frames_that_do_not_belong_are_left_out_and_told(
    trained: RunDirectory, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, range(30, 34))
    follow(trained.path, folder, tmp_path / "out", ONCE)
    field = make_field()
    put(folder, [29, 34])
    write(field.isel(time=[33]), folder / "again.nc")
    between = field.isel(time=[35])
    write(between.assign_coords(time=between.time - np.timedelta64(15, "D")), folder / "between.nc")
    write(field.isel(time=[35], lon=slice(0, 7)), folder / "narrow.nc")
    write(field.isel(time=[35]) * np.nan, folder / "empty.nc")
    write(field.isel(time=[35]).rename(sst="ssd"), folder / "name.nc")
    done = follow(trained.path, folder, tmp_path / "out", ONCE)
    assert (done.frames, done.refused) == (1, 5)
    for message in (
        "frame-029.nc: 2003-06-01 comes out of order, after",
        "again.nc: 2003-10-01 comes twice, after 2003-10-01",
        "between.nc: 2003-11-16 lies between two steps of one month after",
        "narrow.nc: its grid differs from that of the frames before: 6 x 7 cells instead of 6 x 9",
        "empty.nc: 'sst' is missing (NaN) at every cell",
        "no variable 'sst'; it has ssd",
    ):
        assert message in caplog.text
    assert follow(trained.path, folder, tmp_path / "out", ONCE).refused == 0, "each is told once"


def test_another_region(anywhere: RunDirectory, folder: Path, tmp_path: Path) -> None:
    field = make_field(9, 14, -2, -3)
    put(folder, range(30, 34), field)
    follow(anywhere.path, folder, tmp_path / "out", ONCE)
    put(folder, [34], field)
    follow(anywhere.path, folder, tmp_path / "out", ONCE)
    found = forecasts(tmp_path / "out")
    assert len(found) == 3
    predict(anywhere.path, write(field.isel(time=slice(30, 33)), tmp_path / "a.nc"), tmp_path / "batch.nc")
    np.testing.assert_allclose(found["20030901"], opened(tmp_path / "batch.nc").sst.values[0], rtol=1e-5)
    assert found["20031101"].shape == (2, 9, 14)


def test_frames_without_times_go_by_the_names_of_their_files(make_run: MakeRun, folder: Path, tmp_path: Path) -> None:
    plain = make_field().drop_vars("time")
    path = write(plain, tmp_path / "frames.nc")
    run = make_run(
        data={
            "dataset": {"name": "netcdf", "path": str(path)},
            "transforms": {},
            "extra_inputs": ["mask"],
            "departure_from": "none",
        }
    )
    put(folder, range(10, 14), plain)
    follow(run.path, folder, tmp_path / "out", ONCE)
    found = opened(tmp_path / "out" / "forecast-000003.nc").sst.values[0]
    expected = load(run.path)(plain.sst.values[10:14, None], 2)[0, :, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_stores_arrive_like_files(trained: RunDirectory, folder: Path, tmp_path: Path) -> None:
    for step in range(30, 34):
        make_field().isel(time=[step]).to_zarr(folder / f"frame-{step}.zarr", zarr_format=2)
    done = follow(trained.path, folder, tmp_path / "out", StreamOptions(once=True, pattern="*.zarr"))
    assert (done.frames, done.forecasts) == (4, 2)
    np.testing.assert_allclose(forecasts(tmp_path / "out")["20031001"], batch(trained, 30, 33, 2), rtol=1e-5)


def test_arrays_arrive_as_the_data_set_reads_them(
    make_run: MakeRun, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that has another shape is told."""
    frames = np.nan_to_num(make_field().sst.values)
    np.save(tmp_path / "frames.npy", frames)
    data = {"dataset": {"name": "arrays", "path": str(tmp_path / "frames.npy")}, "transforms": {}}
    run = make_run(data={**data, "extra_inputs": [], "departure_from": "none"})
    for step in range(10, 14):
        np.save(folder / f"frame-{step}.npy", frames[step : step + 1])
    np.save(folder / "frame-14.npy", frames[14])
    done = follow(run.path, folder, tmp_path / "out", StreamOptions(once=True, pattern="*.npy"))
    assert (done.frames, done.forecasts) == (4, 2)
    assert "frame-14.npy: the array is 6 x 9, but its axes are not said, and THW would be three" in caplog.text
    found = opened(tmp_path / "out" / "forecast-000003.nc")["field"].values[0]
    expected = load(run.path)(frames[10:14, None], 2)[0, :, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_file_that_is_still_written_is_waited_for(
    trained: RunDirectory, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With what comes after it; when it does not change any more it is told, and the stream goes on."""
    put(folder, range(30, 36))
    whole = (folder / "frame-033.nc").read_bytes()
    (folder / "frame-033.nc").write_bytes(whole[:2000])
    (folder / "frame-036.nc.part").write_bytes(whole[:100])
    (folder / ".frame-037.nc").write_bytes(whole[:100])
    out, polling = tmp_path / "out", ("--poll", "0.2", "--patience", "30")
    process = subprocess.Popen(
        [sys.executable, "-m", "stkit", "predict", trained.path, "--stream", folder, "-o", out, *polling],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _until(lambda: list(out.glob("forecast-*.nc")))
        time.sleep(1)
        assert [path.stem for path in out.glob("forecast-*.nc")] == ["forecast-20030901T000000"]
        (folder / "frame-033.nc").write_bytes(whole)
        _until(lambda: len(list(out.glob("forecast-*.nc"))) == 4)
        process.send_signal(signal.SIGTERM)
        told, warned = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0
    assert len(told.splitlines()) == 4
    assert "6 frames taken in, 4 forecasts, 0 frames left out" in warned
    (folder / "frame-036.nc").write_bytes(whole[:2000])
    put(folder, [37])
    done = follow(trained.path, folder, out, ONCE)
    assert (done.frames, done.stood_in) == (1, 1)
    assert "left out until it changes" in caplog.text
    assert "frame-036.nc: cannot be read as NetCDF" in caplog.text


def _until(happened: object) -> None:
    end = time.monotonic() + 120
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def test_patience_ends(trained: RunDirectory, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file holds the stream up for so long and no longer."""
    put(folder, range(30, 35))
    (folder / "frame-033.nc").write_bytes(b"nothing")
    looks = iter(range(100))

    def no_sleep(seconds: float, interrupt: object) -> None:
        if next(looks) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

    monkeypatch.setattr("stkit.predict.stream._sleep", no_sleep)
    done = follow(trained.path, folder, tmp_path / "out", StreamOptions(patience_seconds=0.05))
    assert (done.frames, done.stood_in, done.forecasts) == (4, 1, 2)


def test_a_state_belongs_to_its_weights(
    trained: RunDirectory, anywhere: RunDirectory, folder: Path, tmp_path: Path
) -> None:
    put(folder, range(30, 33))
    out = tmp_path / "out"
    follow(trained.path, folder, out, ONCE)
    with pytest.raises(UsageError, match="the stream of another run or of other weights"):
        follow(anywhere.path, folder, out, ONCE)
    content = (out / STATE).read_bytes()
    (out / STATE).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="the state of the stream is damaged"):
        follow(trained.path, folder, out, ONCE)
    assert not any(content.find(word) >= 0 for word in (b"pickle", b"torch"))


def test_the_state_is_that_of_the_stream(trained: RunDirectory, folder: Path, tmp_path: Path) -> None:
    put(folder, range(30, 34))
    follow(trained.path, folder, tmp_path / "out", ONCE)
    field, forecaster = make_field(), load(trained.path)
    stream = forecaster.warm(field.sst.values[30:33, None], field.time.values[30:33])
    _, stream = forecaster.step(torch.from_numpy(field.sst.values[33][None, None]), stream)
    saved = Snapshot.load(tmp_path / "out" / STATE, torch.device("cpu"))
    assert saved.count == 4
    assert saved.taken == {f"frame-{step:03d}.nc" for step in range(30, 34)}
    ((state,),) = saved.states
    torch.testing.assert_close(state.forecast, stream.forecast, equal_nan=True)
    torch.testing.assert_close(state.model, stream.model)
    np.testing.assert_array_equal(np.asarray(state.times), np.asarray(stream.times))


@pytest.mark.parametrize(
    ("last", "now", "step", "count"),
    [
        ("2001-01-31", "2001-02-28", np.timedelta64(30, "D"), 1),
        ("2001-01-16", "2001-04-15", np.timedelta64(30, "D"), 3),
        ("2001-01-16", "2001-01-20", np.timedelta64(31, "D"), None),
        ("2001-01-16", "2001-01-15", np.timedelta64(31, "D"), 0),
        ("2001-01-16", "2001-03-01", np.timedelta64(31, "D"), None),
        ("2001-01-16", "2000-12-16", np.timedelta64(31, "D"), -1),
        ("2001-01-01", "2004-01-01", np.timedelta64(365, "D"), 3),
        ("2001-01-01T00:05", "2001-01-01T00:20", np.timedelta64(5, "m"), 3),
        ("2001-01-01T00:05", "2001-01-01T00:07", np.timedelta64(5, "m"), None),
        ("2001-01-01T00:05", "2001-01-01T00:05", np.timedelta64(5, "m"), 0),
    ],
)
def test_steps_between(last: str, now: str, step: np.timedelta64, count: int | None) -> None:
    assert steps_between(np.datetime64(last, "ns"), np.datetime64(now, "ns"), step) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.nc", "--stream", "DIR", "-o", "new"], "INPUT: is not for --stream"),
        (["--stream", "DIR", "-o", "new", "--refit"], "--refit: is not for --stream"),
        (["--stream", "DIR", "-o", "new", "--statistics"], "--statistics: one forecast has no spread"),
        (["--stream", "DIR", "-o", "new", "--forcing", "wind.nc"], "--forcing wind.nc: the model takes no forcing"),
        (["--stream", "nowhere", "-o", "new"], "--stream nowhere: there is no such folder"),
        (["--stream", "DIR", "-o", "file"], "a stream writes one file for each frame"),
        (["--stream", "DIR", "-o", "full"], "is not empty and holds no stream"),
        (["--stream", "DIR", "-o", "new", "--pattern", ""], "--pattern '': expected names within the folder"),
        (["--stream", "DIR", "-o", "new", "--pattern", "/etc/*"], "--pattern '/etc/*': expected names within"),
        (["-o", "new", "--once"], "--once: is for --stream DIR"),
        (["-o", "new", "--max-gap", "2"], "--max-gap: is for --stream DIR"),
    ],
)
def test_options_that_do_not_go_together(
    trained: RunDirectory,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    words = [str(folder) if word == "DIR" else word for word in arguments]
    assert stkit(["predict", str(trained.path), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_command(trained: RunDirectory, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(folder, range(30, 30 + INPUT_STEPS + 1))
    arguments = ["predict", str(trained.path), "--stream", str(folder), "-o", str(tmp_path / "out"), "--once"]
    assert stkit([*arguments, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["start"] for line in lines[:-1]] == ["2003-09-01", "2003-10-01"]
    assert lines[-1]["stream"]["forecasts"] == 2
    assert Path(lines[0]["out"]).is_file()
