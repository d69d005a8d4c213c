"""A test part that is another record: another event on another grid, seen through the training's pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stkit.data.prepare import from_source
from stkit.data.source import ArraySource, Axis, Grid, Variable
from stkit.errors import DataError
from stkit.recipe.sections.data import DataConfig

RAIN = Variable("rain_rate", "mm/h")
MINUTES = np.timedelta64(5, "m")


def grid(height: int = 6, width: int = 8, first: float = 0.0) -> Grid:
    x = first + np.arange(width, dtype=np.float64)
    return Grid(height, width, Axis("y", np.arange(height, dtype=np.float64)), Axis("x", x))


def record(
    steps=40, start="2020-01-01T00:00", on=None, name="here", variable=RAIN, step=MINUTES, seed=0
) -> ArraySource:
    on = on or grid()
    rng = np.random.default_rng(seed)
    fields = rng.gamma(0.5, 4.0, (steps, 1, *on.shape)).astype(np.float32)
    fields[:, :, 0, 0] = np.nan
    times = np.datetime64(start, "ns") + np.arange(steps) * step
    return ArraySource(fields, times, [variable], on, name)


def config(**changes) -> DataConfig:
    values = {
        "dataset": {"name": "netcdf", "path": "here.nc"},
        "test_dataset": {"name": "netcdf", "path": "there.nc"},
        "input_steps": 3,
        "horizon": 2,
        "split": {"train": 0.6, "validation": 0.4, "test": None},
        "transforms": {"log_offset": 0.1},
    }
    return DataConfig.model_validate({**values, **changes})


THERE = grid(5, 9, first=100.0)
LATER = "2021-06-01T12:00"


def test_all_of_the_other_record_is_the_test_part() -> None:
    there = record(12, LATER, THERE, "there", seed=1)
    data = from_source(config(), record(), 0, there)
    assert (len(data.train), len(data.validation), len(data.test)) == (19, 12, 8)
    assert data.tested is there
    assert data.split_summary["test"] == {
        "start": 0,
        "stop": 12,
        "steps": 12,
        "first": "2021-06-01T12:00",
        "last": "2021-06-01T12:55",
        "of": "there",
        "windows": 8,
    }
    assert np.array_equal(data.test.raw(2).fields.numpy(), there.read(2, 7), equal_nan=True)


def test_it_is_seen_as_the_training_was() -> None:
    """Statistics are those of the training, to the last bit, and the mask is the other record's."""
    there = record(12, LATER, THERE, "there", seed=1)
    data = from_source(config(), record(), 0, there)
    mean, deviation = data.pipeline.transforms[1].mean.item(), data.pipeline.transforms[1].deviation.item()
    expected = (np.log1p(there.read(0, 5) / 0.1) - mean) / deviation
    sample = data.test[0]
    assert np.allclose(sample["frames"].numpy()[..., 1:], expected[..., 1:], atol=1e-5)
    assert torch.equal(sample["valid"], torch.from_numpy(np.isfinite(expected)))
    assert data.test.pipeline.grid is there.grid


def test_another_test_record_changes_nothing_that_was_fitted() -> None:
    one = from_source(config(), record(), 0, record(12, LATER, THERE, "there", seed=1))
    two = from_source(config(), record(), 0, record(20, LATER, THERE, "there", seed=2))
    for mine, theirs in zip(one.pipeline.transforms, two.pipeline.transforms, strict=True):
        assert all(torch.equal(value, theirs.state()[name]) for name, value in mine.state().items())
    assert torch.equal(one.train[0]["frames"], two.train[0]["frames"])
    assert one.windows_hash != two.windows_hash


def test_on_the_same_grid_cells_may_have_statistics() -> None:
    later = record(12, LATER, name="later", seed=1)
    data = from_source(config(transforms={"standardise": "cell"}), record(), 0, later)
    assert data.test.pipeline is data.pipeline
    assert data.baseline("climatology").name == "climatology"


@pytest.mark.parametrize(
    ("there", "changes", "said"),
    [
        ({"variable": Variable("rain_rate", "dBZ")}, {}, "rain_rate is in 'dBZ', but in the training"),
        (
            {"variable": Variable("dbz", "mm/h")},
            {},
            "its variables are dbz, but those of the training",
        ),
        ({"step": np.timedelta64(10, "m")}, {}, "its time step is 10 min, but that of the training"),
        ({"steps": 4}, {}, "there: the test part has 4 time steps"),
        (
            {},
            {"transforms": {"standardise": "cell"}},
            "mean and deviation of each cell belong to the cells",
        ),
        ({}, {"departure_from": "climatology"}, r"departures are counted from \(departure_from: climatology\) belong"),
        (
            {"on": grid(), "start": "2020-01-01T00:30"},
            {},
            "12 of its time steps are in the train part",
        ),
        ({"on": grid(), "start": "2020-01-01T03:00"}, {}, "4 of its time steps are in the validation part"),
        ({}, {"split": {"train": 0.6, "validation": 0.2, "test": 0.2}}, "null says that all of data.test_dataset"),
    ],
)
def test_what_does_not_fit(there, changes, said) -> None:
    values = {"steps": 12, "start": LATER, "on": THERE, "name": "there", **there}
    with pytest.raises(DataError, match=said):
        from_source(config(**changes), record(), 0, record(**values))


def test_null_without_another_record() -> None:
    with pytest.raises(DataError, match="null says that all of"):
        from_source(config(test_dataset=None), record(), 0)


@pytest.mark.parametrize("name", ["climatology", "damped_anomaly", "optimal"])
def test_baselines_that_know_cells_are_refused_on_other_cells(name: str) -> None:
    data = from_source(config(), record(), 0, record(12, LATER, THERE, "there"))
    with pytest.raises(DataError, match=rf"{name} is fitted to each cell of the training, but data.test_dataset"):
        data.baseline(name)
    assert data.baseline("persistence").name == "persistence"
