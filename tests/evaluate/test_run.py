"""A run's scores against the same numbers computed by hand from its forecast file and the field."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stkit.errors import CheckpointError, DataError, UsageError
from stkit.evaluate.batches import rounds
from stkit.evaluate.run import evaluate_run
from stkit.evaluate.scores import Scores
from stkit.evaluate.window_errors import read_errors
from stkit.run.directory import RunDirectory
from tests.evaluate.conftest import HORIZON, INPUT_STEPS, STEPS, make_field


def opened(run: RunDirectory) -> xr.Dataset:
    with xr.open_dataset(run.forecast, engine="h5netcdf") as dataset:
        return dataset.load()


def by_hand(run: RunDirectory) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Truth, forecasts (window, lead, lat, lon) and the cells that count."""
    field, forecast = make_field(), opened(run)
    split = run.read_record()["split"]
    start, stop = split["test"]["start"], split["test"]["stop"]
    firsts = range(start, stop - INPUT_STEPS - HORIZON + 1)
    values = field.sst.values
    truth = np.stack([values[first + INPUT_STEPS : first + INPUT_STEPS + HORIZON] for first in firsts])
    month = np.arange(STEPS) % 12
    train = slice(split["train"]["start"], split["train"]["stop"])
    normal = np.full((12, *values.shape[1:]), np.nan)
    for number in range(12):
        chosen = values[train][month[train] == number]
        normal[number] = np.where(np.isnan(chosen).all(axis=0), np.nan, chosen.sum(axis=0) / len(chosen))
    persistence, climatology = np.empty_like(truth), np.empty_like(truth)
    for window, first in enumerate(firsts):
        context = values[first : first + INPUT_STEPS]
        last = context[-1]
        for back in context[-2::-1]:
            last = np.where(np.isnan(last), back, last)
        persistence[window] = last
        targets = np.arange(first + INPUT_STEPS, first + INPUT_STEPS + HORIZON)
        climatology[window] = normal[month[targets]]
    forecasts = {"model": forecast.sst.values, "persistence": persistence, "climatology": climatology}
    counted = np.isfinite(truth)
    for said in forecasts.values():
        counted &= np.isfinite(said)
    return truth, forecasts, counted


def test_the_scores_are_those_computed_by_hand(trained: RunDirectory) -> None:
    scores = Scores.read(trained.scores)
    truth, forecasts, counted = by_hand(trained)
    found = scores.variables["sst"]
    assert found.counted_cells == counted.sum()
    assert found.true_cells == np.isfinite(truth).sum()
    assert found.all_cells == truth.size
    assert found.counted_fraction < 1
    weights = np.cos(np.deg2rad(make_field().lat.values))[:, None] * counted
    mse = {}
    for name, said in forecasts.items():
        error = np.where(counted, said.astype(np.float64) - truth, 0.0)
        total = weights.sum(axis=(0, 2, 3))
        mse[name] = (weights * error**2).sum(axis=(0, 2, 3)) / total
        np.testing.assert_allclose(found.scores[name]["rmse"], np.sqrt(mse[name]), rtol=2e-6)
        np.testing.assert_allclose(found.scores[name]["mae"], (weights * abs(error)).sum((0, 2, 3)) / total, rtol=2e-6)
        np.testing.assert_allclose(found.scores[name]["bias"], (weights * error).sum((0, 2, 3)) / total, atol=2e-6)
        np.testing.assert_allclose(
            found.scores[name]["mse_per_frame"], (error**2).sum(axis=(2, 3)).mean(axis=0), rtol=2e-6
        )
    for name in ("persistence", "climatology"):
        np.testing.assert_allclose(found.skill[name], 1 - mse["model"] / mse[name], rtol=1e-4)
    assert found.scores["climatology"]["acc_centred"] == (None, None)


def test_a_departure_that_starts_at_zero_scores_like_its_baseline(trained: RunDirectory) -> None:
    # Two steps of training with a small learning rate hardly leave damped anomaly, which the head departs from.
    found = Scores.read(trained.scores).variables["sst"].scores
    np.testing.assert_allclose(found["model"]["rmse"], found["damped_anomaly"]["rmse"], rtol=0.2)


def test_what_is_written_down(trained: RunDirectory) -> None:
    scores = Scores.read(trained.scores)
    content = json.loads(trained.scores.read_text())
    assert content["split"] == "test"
    assert scores.windows == len(opened(trained).time) > 1
    assert scores.windows_hash == trained.read_record()["windows_hash"]
    assert scores.lead_steps == (1, 2)
    assert scores.lead_unit == "month"
    assert list(scores.forecasts) == ["model", "persistence", "climatology", "damped_anomaly", "eof_linear"]
    assert list(scores.metrics) == ["rmse", "mae", "bias", "acc_centred", "acc_uncentred", "mse_per_frame"]
    assert content["variables"]["sst"]["units"] == "degC"
    assert content["data"]["licence"] == "made up for a test"
    assert "seed 3" in scores.verdict
    assert "not enough to rank" in scores.verdict
    assert Scores.from_dict(content) == scores


def test_the_forecast_file_holds_every_window_of_the_test_part(trained: RunDirectory) -> None:
    field, forecast = make_field(), opened(trained)
    test = trained.read_record()["split"]["test"]
    expected = field.time.values[test["start"] + INPUT_STEPS - 1 : test["stop"] - HORIZON]
    np.testing.assert_array_equal(forecast.time.values, expected)
    for lead in (1, 2):
        at = np.searchsorted(field.time.values, expected) + lead
        np.testing.assert_array_equal(forecast.valid_time.values[:, lead - 1], field.time.values[at])
    assert forecast.sst.attrs["units"] == "degC"
    assert np.isnan(forecast.sst.values[..., :2, :3]).all(), "land"
    assert np.isfinite(forecast.sst.values[..., 2:, :]).all(), "sea, also where an observation is missing"
    assert abs(float(forecast.sst.mean()) - 20) < 5, "physical units"


def test_scoring_again_changes_nothing(run: RunDirectory) -> None:
    scores, forecast, errors = run.scores.read_bytes(), opened(run), read_errors(run.errors)
    figures = {path.name: path.read_bytes() for path in run.figures.iterdir()}
    evaluate_run(run)
    assert run.scores.read_bytes() == scores
    for mine, before in zip(read_errors(run.errors).errors, errors.errors, strict=True):
        np.testing.assert_array_equal(mine, before)
    xr.testing.assert_identical(opened(run), forecast)
    assert {path.name: path.read_bytes() for path in run.figures.iterdir()} == figures
    assert not [path for path in run.path.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(("windows", "size", "world"), [(11, 2, 1), (11, 2, 2), (11, 3, 4), (1, 4, 3), (8, 2, 2)])
def test_every_window_is_scored_once(windows: int, size: int, world: int) -> None:
    shares = [list(rounds(windows, size, rank, world)) for rank in range(world)]
    seen = [window for share in shares for _, mine in share for window in mine]
    assert sorted(seen) == list(range(windows))
    assert len({len(share) for share in shares}) == 1, "every process takes part in every round"
    for number, (first, _) in enumerate(shares[0]):
        together = [window for share in shares for window in share[number][1]]
        assert together == list(range(first, min(first + size * world, windows))), "in the order of the processes"


@pytest.mark.distributed
def test_two_processes_give_the_scores_of_one(run: RunDirectory) -> None:
    alone, forecast, errors = Scores.read(run.scores), opened(run), read_errors(run.errors)
    run.scores.unlink()
    run.errors.unlink()
    run.forecast.unlink()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "stkit", "--quiet", "eval", str(run.path), "--json"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    together = Scores.from_dict(json.loads(done.stdout))
    for forecast_name, scores in alone.variables["sst"].scores.items():
        for name, values in scores.items():
            mine = together.variables["sst"].scores[forecast_name][name]
            np.testing.assert_allclose(
                np.array(mine, dtype=float),
                np.array(values, dtype=float),
                rtol=1e-10,
                err_msg=f"{forecast_name} {name}",
            )
    assert together.windows == alone.windows
    assert together.variables["sst"].counted_cells == alone.variables["sst"].counted_cells
    xr.testing.assert_identical(opened(run), forecast)
    for mine, theirs in zip(read_errors(run.errors).errors, errors.errors, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_data_that_changed_are_not_scored(run: RunDirectory, tmp_path: Path, field_path: Path) -> None:
    longer = make_field().isel(time=slice(0, STEPS - 6))
    other = tmp_path / "changed.nc"
    longer.to_netcdf(other, engine="h5netcdf")
    text = run.recipe.read_text().replace(str(field_path), str(other))
    run.recipe.write_text(text)
    _retell_hash(run)
    with pytest.raises(DataError, match="may hold what the model was trained on"):
        evaluate_run(run)


def _retell_hash(run: RunDirectory) -> None:
    """Make checkpoint and record believe that they belong to the changed recipe."""
    from stkit.recipe import load

    fresh = load(str(run.path)).hash
    old = run.read_record()["recipe_hash"]
    for file in [run.record, *run.checkpoints.rglob("*.json")]:
        file.write_text(file.read_text().replace(old, fresh))


def test_a_run_without_weights_is_refused(run: RunDirectory) -> None:
    for file in run.checkpoints.rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(CheckpointError):
        evaluate_run(run)


def test_scores_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stkit eval"):
        Scores.read(tmp_path / "scores.json")
    (tmp_path / "scores.json").write_text('{"windows": ')
    with pytest.raises(UsageError, match="cannot be read"):
        Scores.read(tmp_path / "scores.json")
