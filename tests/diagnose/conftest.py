"""Runs with weights that nobody trained: what is seen inside them does not depend on how good they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from accelerate.state import AcceleratorState

from stkit.data.prepare import prepare
from stkit.recipe import from_dict
from stkit.run.directory import RunDirectory
from stkit.run.record import new_record
from stkit.stacks.build import build_forecaster
from stkit.stacks.forecaster import Forecaster
from stkit.train import checkpoint as checkpoints

torch.set_num_threads(1)

STEPS, HEIGHT, WIDTH = 60, 6, 9
INPUT_STEPS, HORIZON = 3, 2
SMALL: dict[str, dict[str, Any]] = {
    "convlstm": {"layers": [3, 3]},
    "predrnn": {"layers": [3, 3]},
    "predrnnpp": {"layers": [3, {"width": 3, "cell": {"name": "ghu"}}, 3]},
    "e3d_lstm": {"layers": [{"width": 1, "cell": {"name": "frame_window"}}, 3, 3]},
    "mim": {"layers": [3, 3, 3]},
    "mim_star": {"layers": [3, 3]},
}
MakeRun = Callable[..., RunDirectory]


@pytest.fixture(scope="session")
def field_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A season, an autoregression, and land in a corner."""
    rng = np.random.default_rng(0)
    values = np.zeros((STEPS, HEIGHT, WIDTH))
    for step in range(1, STEPS):
        values[step] = 0.7 * values[step - 1] + rng.normal(size=(HEIGHT, WIDTH))
    values += 20 + 3 * np.sin(2 * np.pi * np.arange(STEPS) / 12)[:, None, None]
    values[:, :2, :4] = np.nan
    times = np.arange(np.datetime64("2001-01", "M"), np.datetime64("2001-01", "M") + STEPS).astype("datetime64[ns]")
    path = tmp_path_factory.mktemp("field") / "sst.nc"
    xr.Dataset(
        {"sst": (("time", "lat", "lon"), values.astype(np.float32), {"units": "degC"})},
        coords={
            "time": times,
            "lat": ("lat", np.linspace(-50.0, 60.0, HEIGHT), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(10.0, 30.0, WIDTH), {"units": "degrees_east"}),
        },
    ).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory, field_path: Path) -> MakeRun:
    """``make_run("mim", change)``: a run whose weights were drawn, and then changed by ``change(forecaster)``."""

    def make(
        name: str,
        change: Callable[[Forecaster], None] = lambda forecaster: None,
        *,
        model: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        weights: bool = True,
    ) -> RunDirectory:
        values = {
            "data": {
                "dataset": {"name": "netcdf", "path": str(field_path)},
                "input_steps": INPUT_STEPS,
                "horizon": HORIZON,
                "transforms": {"anomaly": "month", "standardise": "variable"},
                "extra_inputs": ["mask"],
                "departure_from": "damped_anomaly",
                **(data or {}),
            },
            "model": {"name": name, "patch": 2, "cell": {"kernel": 3}, **SMALL.get(name, {}), **(model or {})},
            "train": {"steps": 1, "batch_size": 1, "loss": {"name": "mse"}, "sampling": {"name": "none"}},
        }
        if name == "e3d_lstm":
            values["model"]["cell"] = {"kernel": [2, 3, 3]}
        loaded = from_dict(values, name=f"small-{name}")
        run = RunDirectory.create(loaded, tmp_path_factory.mktemp("runs") / name)
        prepared = prepare(loaded.recipe.data, loaded.recipe.seed)
        run.update_record(**{**new_record(loaded), "windows_hash": prepared.windows_hash, "outcome": "finished"})
        prepared.pipeline.save(run.pipeline)
        if weights:
            torch.manual_seed(0)
            forecaster = build_forecaster(
                loaded.recipe.model,
                in_channels=prepared.state_channels + prepared.known_channels,
                out_channels=prepared.state_channels,
                grid=prepared.grid,
            )
            with torch.no_grad():
                change(forecaster)
            checkpoints.save(
                run.checkpoints, checkpoints.Checkpoint(1, loaded.hash, {"model": forecaster.state_dict()})
            )
        return run

    return make


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps its state for the whole process; a test must not see another one's."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
