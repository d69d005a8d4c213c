"""A small field with land, a gap in the observations, and a run that was trained on it for two steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from stkit.evaluate.report import write_report
from stkit.evaluate.run import evaluate_run
from stkit.recipe import from_dict
from stkit.run.directory import RunDirectory
from stkit.run.record import new_record
from stkit.train.trainer import train

torch.set_num_threads(1)

STEPS, HEIGHT, WIDTH = 72, 6, 9
INPUT_STEPS, HORIZON = 3, 2


def months(start: str, count: int) -> np.ndarray:
    return np.arange(np.datetime64(start, "M"), np.datetime64(start, "M") + count).astype("datetime64[ns]")


def make_field() -> xr.Dataset:
    """A season, an autoregression, land in a corner; one cell is not observed for some months of the test part."""
    rng = np.random.default_rng(0)
    values = np.zeros((STEPS, HEIGHT, WIDTH))
    for step in range(1, STEPS):
        values[step] = 0.7 * values[step - 1] + rng.normal(size=(HEIGHT, WIDTH))
    values += 20 + 3 * np.sin(2 * np.pi * np.arange(STEPS) / 12)[:, None, None]
    values[:, :2, :3] = np.nan
    values[60:64, 4, 4] = np.nan
    return xr.Dataset(
        {"sst": (("time", "lat", "lon"), values.astype(np.float32), {"units": "degC", "long_name": "surface"})},
        coords={
            "time": months("2001-01", STEPS),
            "lat": ("lat", np.linspace(-50.0, 60.0, HEIGHT), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(10.0, 30.0, WIDTH), {"units": "degrees_east"}),
        },
        attrs={"license": "made up for a test"},
    )


def recipe_values(path: Path) -> dict:
    return {
        "summary": "A tiny run",
        "seed": 3,
        "data": {
            "dataset": {"name": "netcdf", "path": str(path)},
            "input_steps": INPUT_STEPS,
            "horizon": HORIZON,
            "transforms": {"anomaly": "month"},
            "extra_inputs": ["mask", "calendar"],
            "departure_from": "damped_anomaly",
        },
        "model": {"name": "predrnn", "layers": [3, 3]},
        "train": {
            "steps": 2,
            "batch_size": 4,
            "loss": {"name": "mse"},
            "sampling": {"name": "none"},
            "evaluate_every_steps": 1,
            "log_every_steps": 1,
        },
        "evaluate": {
            "metrics": ["rmse", "mae", "bias", "acc_centred", "acc_uncentred", "mse_per_frame"],
            "batch_size": 2,
        },
    }


@pytest.fixture(scope="session")
def field_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("field") / "sst.nc"
    make_field().to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, field_path: Path) -> RunDirectory:
    """Trained and scored once; tests that write take a copy (``run``)."""
    loaded = from_dict(recipe_values(field_path), name="tiny")
    run = RunDirectory.create(loaded, tmp_path_factory.mktemp("runs") / "tiny")
    run.update_record(**new_record(loaded))
    train(loaded, run)
    evaluate_run(run)
    run.update_record(outcome="finished")
    return run


@pytest.fixture
def run(trained: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(trained.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.fixture(scope="session")
def written(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The same with its report, not to be changed."""
    copy = RunDirectory(tmp_path_factory.mktemp("written") / "run")
    shutil.copytree(trained.path, copy.path)
    write_report(copy)
    return copy
