"""Training goes on as new data arrive: ``stkit resume RUN --data NEW``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from stkit.cli.main import run as stkit
from stkit.data.record import Record
from stkit.data.source import Variable
from stkit.errors import UsageError
from stkit.evaluate.drift import find_drift
from stkit.evaluate.run import evaluate_run
from stkit.recipe import load as load_recipe
from stkit.run.continuation import begin
from stkit.run.directory import RunDirectory
from stkit.run.execute import resume, resume_on
from stkit.run.load import load
from stkit.run.origin import origin_of, prepared
from stkit.train.device import make_accelerator
from stkit.train.setup import assemble
from stkit.train.trainer import fit
from tests.predict.conftest import MakeRun, make_field, months, write


def later(start: str = "2007-01", steps: int = 36, shift: float = 1.5) -> xr.Dataset:
    """The field's last years again at later times, warmer by ``shift``."""
    field = make_field().isel(time=slice(72 - steps, 72))
    return field.assign_coords(time=months(start, steps)) + shift


@pytest.fixture
def new(tmp_path: Path) -> Path:
    field = later()
    field.sst.attrs = make_field().sst.attrs
    return write(field, tmp_path / "new.nc")


@pytest.fixture(scope="module")
def scored(make_run: MakeRun) -> RunDirectory:
    run = make_run(11)
    evaluate_run(run)
    return run


def files(run: RunDirectory) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}


def test_a_run_goes_on_in_a_run_of_its_own(scored: RunDirectory, new: Path, tmp_path: Path) -> None:
    before = files(scored)
    done = resume_on(scored.path, new, out=tmp_path / "next", overrides=["train.steps=3"])
    assert files(scored) == before, "the old run stays as it is"
    run = done.run
    origin = origin_of(run)
    assert origin is not None
    assert (origin.run, origin.until) == (str(scored.path.resolve()), "2006-12-01")
    assert run.read_record()["outcome"] == "finished"
    old, continued = load(scored.path), load(run.path)
    assert continued.pipeline.grid.difference(old.pipeline.grid) is None
    for one, other in zip(old.pipeline.transforms, continued.pipeline.transforms, strict=True):
        torch.testing.assert_close(one.state(), other.state(), equal_nan=True, rtol=0, atol=0)
    split = run.read_record()["split"]
    assert split["train"]["first"] == "2007-01-01"
    assert split["test"]["last"] == "2009-12-01"
    assert run.read_metrics("validation")[0]["step"] == 0
    drift = json.loads(run.drift.read_text(encoding="utf-8"))
    (sst,) = drift["variables"]
    assert sst["anomaly"] > 0.5
    new_part, old_part = drift["errors"]
    assert set(new_part["rmse"]["sst"]) == {"old weights", "continued", "persistence", "climatology", "damped_anomaly"}
    assert old_part["part"] == "the old test part"
    page = run.drift_page.read_text(encoding="utf-8")
    assert "higher on average" in page
    assert "http://" not in page
    assert "mean RMSE over the lead times" in page
    scores = json.loads(run.scores.read_text(encoding="utf-8"))
    model = scores["variables"]["sst"]["scores"]["model"]["rmse"]
    np.testing.assert_allclose(new_part["rmse"]["sst"]["continued"], model, rtol=1e-4)


def test_the_old_weights_are_the_first_checkpoint(scored: RunDirectory, new: Path, tmp_path: Path) -> None:
    """A run that was begun and not trained forecasts as the old one, and is gone on with like any other."""
    training, run = begin(scored.path, new, tmp_path / "next", ["train.steps=1"])
    old, first = load(scored.path), load(run.path)
    assert first.trained_steps == 0
    torch.testing.assert_close(first.forecaster.state_dict(), old.forecaster.state_dict(), rtol=0, atol=0)
    assert training.best.step == 0
    training.accelerator.end_training()
    done = resume(run.path, evaluate=False)
    assert done.training.step == 1
    data = prepared(run, first.recipe)
    assert data.continued
    assert data.record.times is not None
    assert str(data.record.times[0])[:7] == "2001-01"


def test_the_optimiser_starts_afresh_or_goes_on(
    make_run: MakeRun, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its moments are kept, and what the new recipe says of it holds."""
    run = make_run(12, evaluate_every_steps=1)
    data = prepared(run, load(run.path).recipe)
    training = assemble(load_recipe(str(run.path)), make_accelerator("no"), data)
    fit(training, run)
    evaluate_run(run)
    change = ["train.steps=1", "train.optimiser.weight_decay=0.5"]
    fresh, _ = begin(run.path, new, tmp_path / "fresh", change)
    assert not fresh.optimiser.optimizer.state
    kept, directory = begin(run.path, new, tmp_path / "kept", change, keep_optimiser=True)
    inner = kept.optimiser.optimizer
    moments = [state["exp_avg"] for state in inner.state.values()]
    assert moments
    assert all(moment.abs().sum() > 0 for moment in moments)
    assert {group["weight_decay"] for group in inner.param_groups} <= {0.0, 0.5}
    origin = origin_of(directory)
    assert origin is not None
    assert origin.optimiser == "kept"
    with pytest.raises(UsageError, match=r"was trained with adamw?, whose state means nothing to sgd"):
        begin(run.path, new, tmp_path / "other", ["train.optimiser={name: sgd, lr: 0.1}"], keep_optimiser=True)
    assert stkit(["resume", str(run.path), "--keep-optimiser"]) == 2
    assert "--keep-optimiser: a run goes on as it began" in " ".join(capsys.readouterr().err.split())


def test_a_chain_knows_all_it_was_trained_on(scored: RunDirectory, new: Path, tmp_path: Path) -> None:
    _, second = begin(scored.path, new, tmp_path / "second", ["train.steps=1"])
    field = later("2010-01", 36, 2.0)
    field.sst.attrs = make_field().sst.attrs
    newest = write(field, tmp_path / "newest.nc")
    _, third = begin(second.path, newest, tmp_path / "third", ["train.steps=1"])
    origin = origin_of(third)
    assert origin is not None
    assert origin.until == "2009-12-01"
    assert len(origin.trained_on) == 2
    data = prepared(third, load(third.path).recipe)
    times = data.record.times
    assert times is not None
    assert (str(times[0])[:7], str(times[-1])[:4]) == ("2001-01", "2011")
    assert (np.diff(times) > np.timedelta64(0)).all()


def test_a_file_that_has_grown_gives_its_new_frames_only(scored: RunDirectory, new: Path, tmp_path: Path) -> None:
    with xr.open_dataset(new, engine="h5netcdf") as dataset:
        grown = xr.concat([make_field(), dataset.load()], "time")
    grown.sst.attrs = make_field().sst.attrs
    grown.sst.encoding = {}
    _, run = begin(scored.path, write(grown, tmp_path / "grown.nc"), tmp_path / "next", [])
    assert run.read_record()["split"]["train"]["first"] == "2007-01-01"


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (lambda field: field.assign_coords(time=months("2003-01", 36)), [], r"has nothing after 2006-12-01"),
        (lambda field: field.rename(sst="ssd"), [], r"no variable 'sst'; it has ssd"),
        (lambda field: field.assign(sst=field.sst.assign_attrs(units="K")), [], r"gives sst \[K\]; .* sst \[degC\]"),
        (lambda field: field.isel(lon=slice(0, 8)), [], r"its grid differs"),
        (lambda field: field.isel(time=slice(0, 36, 2)), [], r"its time step is 61 days"),
        (lambda field: field.isel(time=slice(0, 6)), [], r"one window needs 5"),
        (lambda field: field.drop_vars("time"), [], r"has no times that can be understood"),
        (lambda field: field, ["train.stepz=3"], r"train.stepz: there is no such key"),
    ],
)
def test_new_data_that_do_not_fit_are_told(
    scored: RunDirectory,
    tmp_path: Path,
    change: Callable[[xr.Dataset], xr.Dataset],
    overrides: list[str],
    message: str,
) -> None:
    field = later()
    field.sst.attrs = make_field().sst.attrs
    path = write(change(field), tmp_path / "new.nc")
    with pytest.raises(UsageError, match=message):
        begin(scored.path, path, tmp_path / "next", overrides)
    assert not (tmp_path / "next").exists()


def test_no_part_reaches_into_what_was_scored(scored: RunDirectory, new: Path, tmp_path: Path) -> None:
    with xr.open_dataset(new, engine="h5netcdf") as dataset:
        grown = xr.concat([make_field(), dataset.load()], "time")
    grown.sst.attrs = make_field().sst.attrs
    path = write(grown, tmp_path / "grown.nc")
    with pytest.raises(UsageError, match=r"data.split.train: begins at 2006-01-01, but the parts of .* reach to 2006"):
        begin(scored.path, path, tmp_path / "next", ["data.split.train=2006-01..2008-01"])


def test_the_command(scored: RunDirectory, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "next"
    arguments = ["resume", str(scored.path), "--data", str(new), "--out", str(out), "train.steps=1", "--no-eval"]
    assert stkit(arguments) == 0
    assert str(out) in capsys.readouterr().out
    assert stkit(arguments) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert stkit(["resume", str(scored.path), "train.steps=3"]) == 2
    assert "with --data NEW it goes on in a run of its own" in capsys.readouterr().err
    assert stkit(["resume", str(scored.path), "--data", str(new), "--processes", "2"]) == 2
    assert "begins in one process" in capsys.readouterr().err
    assert stkit(["resume", str(scored.path), "--data", str(tmp_path / "nothing.nc")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_drift_is_what_numpy_and_scipy_say() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(10, 2, (40, 2, 5, 6)).astype(np.float32)
    second = rng.normal(11, 3, (24, 2, 5, 6)).astype(np.float32)
    first[3:7, 0, 1] = np.nan
    valid = torch.ones(2, 5, 6, dtype=torch.bool)
    valid[:, 0, 0] = False
    times = [months("2001-01", 40), months("2005-01", 24)]
    drifts = find_drift(
        Record.of(first, times[0]), Record.of(second, times[1]), [Variable("u", "m"), Variable("v", "m")], valid
    )
    for channel, drift in enumerate(drifts):
        one, two = (part[:, channel][:, valid[channel].numpy()].astype(np.float64) for part in (first, second))
        there = [part[np.isfinite(part)] for part in (one, two)]
        assert drift.training.mean == pytest.approx(there[0].mean(), rel=1e-6)
        assert drift.new.deviation == pytest.approx(there[1].std(), rel=1e-6)
        assert drift.training.missing == pytest.approx(np.isnan(one).mean())
        assert drift.new.high == pytest.approx(np.percentile(there[1], 95, method="inverted_cdf"), abs=0.02)
        assert drift.distance == pytest.approx(stats.ks_2samp(*there).statistic, abs=3e-3)
        assert drift.transport == pytest.approx(stats.wasserstein_distance(*there), abs=0.02)
        normal = np.stack([np.nanmean(one[month::12], axis=0) for month in range(12)])
        departures = two - normal[np.arange(24) % 12]
        assert drift.anomaly == pytest.approx(departures.mean(), abs=1e-5)
        np.testing.assert_allclose(drift.months, departures.reshape(2, 12, -1).mean((0, 2)), atol=1e-5)
