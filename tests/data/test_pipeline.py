from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.data.pipeline import Pipeline
from stkit.data.prepare import PreparedData, from_source
from stkit.data.source import ArraySource, Axis, Grid
from stkit.errors import CheckpointError, DataError
from stkit.recipe.sections.data import DataConfig
from tests.data.fields import config, months, seasonal, seeds, source, with_land

FULL = {
    "transforms": {"anomaly": "month", "standardise": "cell"},
    "extra_inputs": ["calendar", "mask"],
    "departure_from": "damped_anomaly",
}

configs = st.builds(
    lambda anomaly, standardise, extra, departure: config(
        transforms={"anomaly": anomaly, "standardise": standardise}, extra_inputs=extra, departure_from=departure
    ),
    st.sampled_from(["none", "month", "day_of_year"]),
    st.sampled_from(["none", "variable", "cell"]),
    st.sampled_from([[], ["mask"], ["mask", "calendar"]]),
    st.sampled_from(["none", "persistence", "climatology", "damped_anomaly", "extrapolation"]),
)


def numbers(data: PreparedData) -> dict[str, torch.Tensor]:
    """Everything that was fitted, and some training samples."""
    found = {"valid": data.pipeline.valid}
    for index, transform in enumerate(data.pipeline.transforms):
        found |= {f"{index}.{name}": value for name, value in transform.state().items()}
    for name in ("climatology", "damped_anomaly"):
        found |= {f"{name}.{key}": value for key, value in data.baseline(name).state().items()}
    for index in (0, len(data.train) // 2, len(data.train) - 1):
        found |= {f"{index}.{name}": value for name, value in data.train[index].items()}
    return found


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, equal_nan=True, msg=name)


@settings(max_examples=20)
@given(chosen=configs, seed=seeds)
def test_what_comes_after_training_changes_nothing_in_it(chosen: DataConfig, seed: int) -> None:
    record = source()
    before = numbers(from_source(chosen, record, 0))
    rng = np.random.default_rng(seed)
    changed = record.fields.copy()
    border = from_source(chosen, record, 0).split_summary["train"]["stop"]
    assert isinstance(border, int)
    changed[border:] = rng.normal(1e3, 1e3, size=changed[border:].shape)
    changed[border:][rng.uniform(size=changed[border:].shape) < 0.3] = np.nan
    after = numbers(from_source(chosen, ArraySource(changed, record.times, record.variables, record.grid), 0))
    assert_same(before, after)


@settings(max_examples=20)
@given(chosen=configs, value=st.sampled_from([0.0, 1e6, -1e6, np.inf]))
def test_values_under_the_mask_change_nothing(chosen: DataConfig, value: float) -> None:
    class Masked(ArraySource):
        @property
        def mask(self) -> np.ndarray:
            mask = np.ones(self.grid.shape, bool)
            mask[0] = False
            mask[2, 1:3] = False
            return mask

    fields = with_land(seasonal(60))
    record = Masked(fields, months(60))
    before = from_source(chosen, record, 0)
    fields = fields.copy()
    fields[..., ~record.mask] = value
    after = from_source(chosen, Masked(fields, months(60)), 0)
    assert_same(numbers(before), numbers(after))
    for part in ("validation", "test"):
        one, other = getattr(before, part), getattr(after, part)
        assert_same(one[0], other[0])
        torch.testing.assert_close(one.raw(0).fields, other.raw(0).fields, equal_nan=True)


@given(chosen=configs)
def test_there_and_back_in_the_test_part(chosen: DataConfig) -> None:
    data = from_source(chosen, source(), 0)
    raw = data.test.raw(0)
    frames, valid = data.pipeline.observe(raw.fields, raw.times)
    assert torch.equal(valid, raw.fields.isfinite())
    assert (frames[~valid] == 0).all()
    back = data.pipeline.inverse(frames, raw.times)
    torch.testing.assert_close(back[valid], raw.fields[valid], rtol=1e-5, atol=1e-4)
    assert back[..., 0, :].isnan().all(), "land is masked again"


def test_a_batch_is_its_windows() -> None:
    data = from_source(config(**FULL), source(), 0)
    pipeline = data.pipeline
    raws = [data.train.raw(index) for index in range(6)]
    fields = torch.stack([raw.fields for raw in raws]).view(2, 3, *raws[0].fields.shape)
    times = np.stack([raw.times for raw in raws]).reshape(2, 3, -1)
    frames = pipeline.forward(fields, times)
    known = pipeline.known(times, 5)
    track = pipeline.base_track(fields, times, 3)
    ahead = pipeline.base(fields[:, :, :3], times[..., :3], 2)
    back = pipeline.inverse(frames, times)
    assert track is not None
    assert ahead is not None
    for index in range(6):
        sample, at = data.train[index], divmod(index, 3)
        torch.testing.assert_close(frames[at], sample["frames"])
        torch.testing.assert_close(known[at], sample["known"])
        torch.testing.assert_close(track[at], sample["base"])
        torch.testing.assert_close(ahead[at], sample["base"][2:], msg="the times that follow are found")
        torch.testing.assert_close(back[at], pipeline.inverse(sample["frames"], raws[index].times), equal_nan=True)


@pytest.mark.parametrize("departure", ["persistence", "climatology", "damped_anomaly", "extrapolation"])
def test_no_base_sees_its_own_frame_or_a_later_one(departure: str) -> None:
    data = from_source(config(input_steps=3, horizon=4, departure_from=departure), source(), 0)
    raw = data.train.raw(0)
    base = data.pipeline.base_track(raw.fields, raw.times, 3)
    assert base is not None
    for frame in range(1, 7):
        changed = raw.fields.clone()
        changed[frame:] += 100
        after = data.pipeline.base_track(changed, raw.times, 3)
        assert after is not None
        last_same = frame if frame < 3 else 6  # entries from the last context frame on see the context only
        assert torch.equal(after[:last_same], base[:last_same])


def test_the_base_of_persistence() -> None:
    chosen = config(departure_from="persistence", transforms={"standardise": "none"}, input_steps=3, horizon=2)
    data = from_source(chosen, ArraySource(seasonal(60), months(60)), 0)
    sample = data.train[0]
    assert torch.equal(sample["base"], sample["frames"][[0, 1, 2, 2]])


@pytest.mark.parametrize("anomaly", ["none", "month", "day_of_year"])
def test_the_base_of_climatology_is_the_normal_of_the_training_part(anomaly: str) -> None:
    """Of each calendar month, on cells that have a value; where the climatology is subtracted already it is zero."""
    record = source()
    data = from_source(config(departure_from="climatology", transforms={"anomaly": anomaly}), record, 0)
    index = len(data.train) - 1
    raw, base = data.train.raw(index), data.train[index]["base"]
    if anomaly != "none":
        sea = data.pipeline.valid.expand_as(base)
        torch.testing.assert_close(
            data.pipeline.inverse(base, raw.times[1:])[sea],
            data.pipeline.inverse(torch.zeros_like(base), raw.times[1:])[sea],
            rtol=0,
            atol=1e-3,
        )
        return
    end = data.split_summary["train"]["stop"]
    assert isinstance(end, int)
    month = record.times.astype("datetime64[M]").astype(int) % 12
    for frame, time in enumerate(raw.times[1:]):
        same = month[:end] == int(time.astype("datetime64[M]").astype(int) % 12)
        normal = np.nanmean(record.fields[:end][same][:, :, 1:], axis=0)
        said = data.pipeline.inverse(base[frame : frame + 1], raw.times[frame + 1 : frame + 2])[0, :, 1:]
        np.testing.assert_allclose(said.numpy(), normal, rtol=1e-4)


@settings(max_examples=20)
@given(chosen=configs)
def test_saved_and_loaded_it_is_the_same(chosen: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = from_source(chosen, source(channels=2), 0)
    folder = tmp_path_factory.mktemp("pipeline")
    data.pipeline.save(folder)
    loaded = Pipeline.load(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["pipeline.json", "pipeline.safetensors"]
    assert loaded.variables == data.pipeline.variables
    assert loaded.step == data.pipeline.step
    assert loaded.grid.difference(data.pipeline.grid) is None
    assert (loaded.grid.latitude == data.source.latitude).all()
    raw = data.test.raw(0)
    for pipeline in (loaded, data.pipeline):
        pipeline.save(folder)
    torch.testing.assert_close(loaded.forward(raw.fields, raw.times), data.test[0]["frames"], rtol=0, atol=0)
    assert torch.equal(loaded.known(raw.times, 5), data.pipeline.known(raw.times, 5))
    track = loaded.base_track(raw.fields, raw.times, 3)
    assert (track is None) == ("base" not in data.test[0])
    if track is not None:
        torch.testing.assert_close(track, data.test[0]["base"], rtol=0, atol=0)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    from_source(config(**FULL), source(), 0).pipeline.save(tmp_path)
    return tmp_path


def test_a_pipeline_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pipeline\.json is missing"):
        Pipeline.load(tmp_path)


@pytest.mark.parametrize("name", ["pipeline.json", "pipeline.safetensors"])
def test_a_pipeline_that_is_cut_short(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        Pipeline.load(saved)


def test_a_pipeline_of_two_runs(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    from_source(config(), source(height=5), 0).pipeline.save(other)
    (saved / "pipeline.safetensors").write_bytes((other / "pipeline.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="do not belong together"):
        Pipeline.load(saved)


def test_a_pipeline_of_a_later_version(saved: Path) -> None:
    said = json.loads((saved / "pipeline.json").read_text())
    (saved / "pipeline.json").write_text(json.dumps(said | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        Pipeline.load(saved)


def test_nothing_but_missing_values() -> None:
    fields = seasonal(60, channels=2)
    fields[:40, 1] = np.nan
    with pytest.raises(DataError, match=r"field1: every value of the training part is missing \(NaN\)"):
        from_source(config(), ArraySource(fields, months(60)), 0)


def test_another_grid() -> None:
    pipeline = from_source(config(), source(), 0).pipeline
    pipeline.check_grid(source().grid, "new.nc")
    with pytest.raises(DataError, match=r"new\.nc: its grid differs .*: 7 x 5 cells instead of 4 x 5"):
        pipeline.check_grid(source(height=7).grid, "new.nc")
    shifted = Grid(4, 5, Axis("lat", np.arange(4) * 2.0 + 10, "degrees_north", "latitude"), Axis("x"))
    with pytest.raises(DataError, match=r"lat from 10 to 16 instead of 0 to 6"):
        pipeline.check_grid(shifted, "new.nc")


def test_variables_have_masks_of_their_own() -> None:
    fields = seasonal(60, channels=2)
    fields[:, 0, 0] = np.nan
    fields[:, 1, :, 0] = np.nan
    fields[:, :, 3, 4] = np.nan
    data = from_source(config(extra_inputs=["mask"]), ArraySource(fields, months(60)), 0)
    sample = data.train[0]
    assert not sample["valid"][:, 0, 0].any()
    assert sample["valid"][:, 0, 1:3].all()
    assert not sample["valid"][:, 1, :, 0].any()
    assert sample["known"][0, 0].sum() == 20 - 2, "the mask input is 1 where any variable counts"


def test_each_option_changes_a_sample() -> None:
    def sample(**values: object) -> dict[str, torch.Tensor]:
        return from_source(config(**values), source(), 0).train[0]

    base = sample()
    for values in (
        {"transforms": {"log_offset": 100.0}},
        {"transforms": {"anomaly": "month"}},
        {"transforms": {"anomaly": "day_of_year"}},
        {"transforms": {"standardise": "cell"}},
        {"transforms": {"standardise": "none"}},
    ):
        assert not torch.equal(sample(**values)["frames"], base["frames"]), values
