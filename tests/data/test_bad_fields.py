"""Fields that are constant, missing for whole frames, or larger than memory allows."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from stkit.data.prepare import from_source, prepare
from stkit.data.source import ArraySource
from stkit.recipe import from_dict
from stkit.run.execute import execute
from tests.data.fields import config, months, seasonal, write


@pytest.mark.parametrize("standardise", ["variable", "cell"])
@pytest.mark.parametrize("value", [0.0, 285.3])
def test_a_constant_field(standardise: str, value: float) -> None:
    """It is zero to the model, and comes back as it was."""
    fields = np.full((60, 1, 4, 5), value, dtype=np.float32)
    data = from_source(config(transforms={"standardise": standardise}), ArraySource(fields, months(60)), 0)
    sample = data.test[0]
    assert torch.equal(sample["frames"], torch.zeros_like(sample["frames"]))
    torch.testing.assert_close(data.pipeline.inverse(sample["frames"], data.test.raw(0).times), data.test.raw(0).fields)


def test_frames_without_any_value(tmp_path: Path) -> None:
    """Whole months are missing, in every part: the run trains, and its scores are numbers."""
    fields = seasonal(60, height=6, width=6)
    fields[5:60:6] = np.nan
    dims = ("time", "lat", "lon")
    data = xr.Dataset({"sst": (dims, fields[:, 0])}, {"time": months(60), "lat": np.arange(6.0), "lon": np.arange(6.0)})
    recipe = {
        "data": {"dataset": {"name": "netcdf", "path": write(tmp_path, data)}, "input_steps": 3, "horizon": 2},
        "model": {"name": "predrnn", "layers": [2]},
        "train": {"steps": 3, "batch_size": 4, "loss": {"name": "mse"}, "sampling": {"name": "none"}},
        "evaluate": {"metrics": ["rmse"]},
    }
    done = execute(from_dict(recipe, name="gaps"), out=tmp_path / "run")
    assert done.scores is not None
    for scores in done.scores.variables.values():
        assert all(value is not None and np.isfinite(value) for value in scores.scores["model"]["rmse"])


@pytest.mark.parametrize("anomaly", ["none", "month", "day_of_year"])
def test_what_is_fitted_never_holds_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anomaly: str) -> None:
    """Statistics and climatologies of 38 MB of fields, with less than a quarter of it at a time."""
    steps, side = 2400, 64
    fields = np.random.default_rng(0).normal(size=(steps, side, side)).astype(np.float32)
    times = np.datetime64("2000-01-01", "ns") + np.arange(steps) * np.timedelta64(1, "D")
    data = xr.Dataset(
        {"sst": (("time", "lat", "lon"), fields)}, {"time": times, "lat": np.arange(64.0), "lon": np.arange(64.0)}
    )
    data.to_zarr(tmp_path / "sst.zarr", zarr_format=2, encoding={"sst": {"chunks": (20, side, side)}})
    monkeypatch.setattr("stkit.data.source._PIECE_BYTES", 2**19)
    chosen = config(
        dataset={"name": "zarr", "path": str(tmp_path / "sst.zarr"), "memory_mb": 0}, transforms={"anomaly": anomaly}
    )
    del data
    size = fields.nbytes
    expected = fields[: int(0.7 * (steps - 2))].mean(), fields[: int(0.7 * (steps - 2))].std()
    del fields
    tracemalloc.start()
    prepared = prepare(chosen, 0)
    for step in range(3):
        prepared.stream(0, 4).batch(step)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < size / 4, f"{highest / 2**20:.1f} MiB of {size / 2**20:.1f}"
    if anomaly == "none":
        state = prepared.pipeline.transforms[0].state()
        np.testing.assert_allclose(state["mean"].item(), expected[0], atol=1e-5)
        np.testing.assert_allclose(state["deviation"].item(), expected[1], rtol=1e-5)
