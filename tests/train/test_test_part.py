"""What the test part holds is seen neither by training nor by the choice of weights."""

from __future__ import annotations

import numpy as np
import xarray as xr

from stkit.run.execute import execute
from tests.train.conftest import assert_same_tensors, metrics, tensors


def test_another_test_part_changes_neither_training_nor_the_weights_that_are_chosen(recipe, field, tmp_path):
    """Implementations of these papers keep the weights that score best on the test set."""
    with xr.open_dataset(field, engine="h5netcdf") as dataset:
        other = dataset.load().copy(deep=True)
    months = other.sizes["time"]
    tested = slice(months - 6, None)  # within the last 15 % of the record
    other["sst"][tested] = np.random.default_rng(7).normal(50, 9, other["sst"][tested].shape)
    other.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")

    changes = {"train.steps": 9, "train.evaluate_every_steps": 2, "train.optimiser": {"lr": 0.03}}
    ends = {"data.split": {"train": 0.7, "validation": 0.15, "test": 0.15}}
    for name, path in (("a", field), ("b", tmp_path / "other.nc")):
        dataset = {"data.dataset": {"name": "netcdf", "path": str(path)}}
        execute(recipe({**changes, **ends, **dataset}), out=tmp_path / name, evaluate=False)
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    for pointer in ("best", "latest"):
        assert_same_tensors(tensors(tmp_path / "a", pointer), tensors(tmp_path / "b", pointer))
