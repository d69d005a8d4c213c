"""A small field and the smallest recipe that trains on it."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import xarray as xr
from accelerate.state import AcceleratorState

from stkit.plugin.manager import plugins
from stkit.recipe import from_dict
from tests.fake_site import FakeSite

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def field(tmp_path_factory):
    """A NetCDF file: 60 months, 8 x 8, a season, an autoregression and a corner of land."""
    steps = 60
    times = np.array([np.datetime64("2001-01") + step for step in range(steps)]).astype("datetime64[ns]")
    rng = np.random.default_rng(0)
    values = np.zeros((steps, 8, 8))
    for step in range(1, steps):
        values[step] = 0.8 * values[step - 1] + rng.normal(size=(8, 8))
    values += 20 + 3 * np.sin(2 * np.pi * np.arange(steps) / 12)[:, None, None]
    values[:, :2, :2] = np.nan
    path = tmp_path_factory.mktemp("field") / "sst.nc"
    dataset = xr.Dataset(
        {"sst": (("time", "lat", "lon"), values.astype("f4"), {"units": "degC"})},
        coords={
            "time": times,
            "lat": ("lat", np.arange(8.0), {"units": "degrees_north"}),
            "lon": ("lon", np.arange(8.0), {"units": "degrees_east"}),
        },
    )
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def values(field):
    """The recipe as plain values, to change and load."""
    return {
        "seed": 3,
        "data": {
            "dataset": {"name": "netcdf", "path": str(field)},
            "input_steps": 3,
            "horizon": 2,
            "extra_inputs": ["mask"],
        },
        "model": {"name": "predrnn", "layers": [4, 4]},
        "train": {
            "steps": 6,
            "batch_size": 4,
            "loss": {"name": "mse"},
            "sampling": {"name": "scheduled", "decrease_per_step": 0.1, "stop_step": 5},
            "evaluate_every_steps": 3,
            "checkpoint_every_steps": 100,
            "log_every_steps": 1,
        },
    }


@pytest.fixture
def recipe(values):
    """``recipe({"train.steps": 3})``: the small recipe with some values changed."""

    def make(changes=None):
        changed = copy.deepcopy(values)
        for path, value in (changes or {}).items():
            *parents, last = path.split(".")
            section = changed
            for parent in parents:
                section = section[parent]
            section[last] = value
        return from_dict(changed, name="small")

    return make


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps its state for the whole process; a test must not see another one's."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Plugins that are installed for one test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    plugins.cache_clear()
    site = FakeSite(folder)
    yield site
    site.clean_up()


TIMING = {"seconds", "steps_per_second", "validation_seconds", "waiting_share"}


def metrics(path):
    """The lines of ``metrics.jsonl`` but for what the clock says."""
    lines = [json.loads(line) for line in (Path(path) / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMING} for line in lines]


def tensors(path, pointer="latest"):
    """Every tensor of a checkpoint, by part and name."""
    folder = Path(path) / "checkpoints"
    folder = folder / json.loads((folder / f"{pointer}.json").read_text())["checkpoint"]
    return {
        f"{file.stem}/{name}": tensor
        for file in folder.glob("*.safetensors")
        for name, tensor in safetensors.torch.load_file(file).items()
    }


def assert_same_tensors(one, other):
    """Bit for bit."""
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
