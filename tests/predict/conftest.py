"""A small field with land, and runs on it whose weights nobody trained: what is forecast needs not be good here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from accelerate.state import AcceleratorState

from stkit.recipe import from_dict
from stkit.run.directory import RunDirectory
from stkit.run.record import new_record
from stkit.train.device import make_accelerator
from stkit.train.setup import assemble
from stkit.train.trainer import describe_training, save

torch.set_num_threads(1)

STEPS, HEIGHT, WIDTH = 72, 6, 9
INPUT_STEPS, HORIZON = 3, 2
MakeRun = Callable[..., RunDirectory]


def months(start: str, count: int) -> np.ndarray:
    return np.arange(np.datetime64(start, "M"), np.datetime64(start, "M") + count).astype("datetime64[ns]")


def make_field(height: int = HEIGHT, width: int = WIDTH, top: int = 0, left: int = 0) -> xr.Dataset:
    """A season and an autoregression that depend on the cell's place alone; land in the corner of the origin.

    Args:
        height: rows.
        width: columns.
        top: the first row's place.
        left: the first column's place.
    """
    values = np.empty((STEPS, height, width))
    for row in range(height):
        for column in range(width):
            rng = np.random.default_rng([row + top + 50, column + left + 50])
            noise, anomaly = rng.normal(size=STEPS), 0.0
            for step in range(STEPS):
                anomaly = 0.7 * anomaly + noise[step]
                values[step, row, column] = anomaly
    values += 20 + 3 * np.sin(2 * np.pi * np.arange(STEPS) / 12)[:, None, None]
    rows, columns = np.arange(height) + top, np.arange(width) + left
    land = ((rows >= 0) & (rows < 2))[:, None] & ((columns >= 0) & (columns < 3))
    values[:, land] = np.nan
    return xr.Dataset(
        {"sst": (("time", "lat", "lon"), values.astype(np.float32), {"units": "degC", "long_name": "surface"})},
        coords={
            "time": months("2001-01", STEPS),
            "lat": ("lat", -50.0 + 10.0 * rows, {"units": "degrees_north"}),
            "lon": ("lon", 10.0 + 2.5 * columns, {"units": "degrees_east"}),
        },
    )


def write(dataset: xr.Dataset, path: Path) -> Path:
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


def opened(path: Path) -> xr.Dataset:
    engine = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    with xr.open_dataset(path, engine=engine, decode_timedelta=True) as dataset:
        return dataset.load()


@pytest.fixture(scope="session")
def field_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(make_field(), tmp_path_factory.mktemp("field") / "sst.nc")


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory, field_path: Path) -> MakeRun:
    """``make_run(seed=1, data={...})``: a run with the weights that its seed drew."""

    def make(
        seed: int = 0, *, data: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **train: Any
    ) -> RunDirectory:
        values = {
            "seed": seed,
            "data": {
                "dataset": {"name": "netcdf", "path": str(field_path)},
                "input_steps": INPUT_STEPS,
                "horizon": HORIZON,
                "transforms": {"anomaly": "month"},
                "extra_inputs": ["mask", "calendar"],
                "departure_from": "damped_anomaly",
                **(data or {}),
            },
            "model": {"name": "predrnn", "layers": [3, 3], "cell": {"kernel": 3}, **(model or {})},
            "train": {
                "steps": 2,
                "batch_size": 4,
                "loss": {"name": "mse"},
                "sampling": {"name": "none"},
                "evaluate_every_steps": 1,
                **train,
            },
        }
        loaded = from_dict(values, name="tiny")
        run = RunDirectory.create(loaded, tmp_path_factory.mktemp("runs") / f"seed-{seed}")
        run.update_record(**{**new_record(loaded), "outcome": "finished"})
        training = assemble(loaded, make_accelerator("no"))
        training.run = run
        describe_training(training)
        save(training, best=True)
        return run

    return make


@pytest.fixture(scope="session")
def trained(make_run: MakeRun) -> RunDirectory:
    """The usual one: monthly anomalies, a departure from damped anomaly, mask and calendar as inputs."""
    return make_run()


@pytest.fixture(scope="session")
def anywhere(make_run: MakeRun) -> RunDirectory:
    """One whose statistics are the same in every cell."""
    return make_run(data={"transforms": {"anomaly": "none"}, "departure_from": "persistence"})


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """The field's first 40 months."""
    return write(make_field().isel(time=slice(0, 40)), tmp_path / "input.nc")


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps its state for the whole process; a test must not see another one's."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
