from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stkit.data.box import Box
from stkit.data.pipeline import Pipeline
from stkit.data.prepare import from_source
from stkit.data.record import SpanRecord
from stkit.data.source import ArraySource
from stkit.data.split import Span
from stkit.data.windows import FieldWindows
from stkit.errors import DataError
from tests.data.fields import config, days, months, seasonal, source


def windows(record: ArraySource, span: Span, inputs: int, horizon: int, stride: int = 1) -> FieldWindows:
    chosen = config(input_steps=inputs, horizon=horizon)
    pipeline = Pipeline.fit(chosen, SpanRecord(record, 0, record.steps), record.variables, record.grid)
    return FieldWindows(record, "train", span, pipeline, stride)


@given(
    start=st.integers(0, 20),
    steps=st.integers(2, 40),
    inputs=st.integers(1, 5),
    horizon=st.integers(1, 5),
    stride=st.integers(1, 4),
)
def test_they_cover_the_part_and_stay_inside(start: int, steps: int, inputs: int, horizon: int, stride: int) -> None:
    record = ArraySource(np.arange(60, dtype=np.float32).reshape(60, 1, 1, 1), months(60))
    span, length = Span(start, start + steps), inputs + horizon
    if steps < length:
        with pytest.raises(DataError, match=f"has {steps} time steps .* needs {length} "):
            windows(record, span, inputs, horizon, stride)
        return
    found = windows(record, span, inputs, horizon, stride)
    assert len(found) == (steps - length) // stride + 1
    for index in range(len(found)):
        raw = found.raw(index)
        expected = torch.arange(start + index * stride, start + index * stride + length)
        assert torch.equal(raw.fields.flatten(), expected.float())
        assert raw.times is not None
        assert expected[-1] < span.stop
        np.testing.assert_array_equal(raw.times, months(60)[expected.numpy()])
    if stride == 1:
        assert found.start(len(found) - 1) + length == span.stop


@given(gaps=st.sets(st.integers(1, 38), max_size=4), inputs=st.integers(1, 4), horizon=st.integers(1, 3))
def test_none_crosses_a_gap_in_time(gaps: set[int], inputs: int, horizon: int) -> None:
    late = np.cumsum([3 if step in gaps else 0 for step in range(40)])
    times = days(60)[:40] + late * np.timedelta64(1, "D")
    record = ArraySource(np.zeros((40, 1, 1, 1), np.float32), times)
    length = inputs + horizon
    expected = [s for s in range(40 - length + 1) if not gaps & set(range(s + 1, s + length))]
    if expected:
        found = windows(record, Span(0, 40), inputs, horizon)
        assert [found.start(index) for index in range(len(found))] == expected


def test_a_sample_is_the_window_in_model_space() -> None:
    chosen = config(transforms={"anomaly": "month"}, extra_inputs=["calendar", "mask"], departure_from="damped_anomaly")
    data = from_source(chosen, source(channels=2), 0)
    sample = data.train[3]
    assert {name: tuple(value.shape) for name, value in sample.items()} == {
        "frames": (5, 2, 4, 5),
        "valid": (5, 2, 4, 5),
        "physical": (5, 2, 4, 5),
        "known": (5, 3, 4, 5),
        "base": (4, 2, 4, 5),
        "start": (),
    }
    assert sample["start"] == 3
    assert torch.equal(sample["valid"], data.train.raw(3).fields.isfinite())
    assert all(value.isfinite().all() for value in sample.values())
    assert torch.equal(sample["physical"], data.train.raw(3).fields.nan_to_num(0.0))
    assert (sample["frames"][~sample["valid"]] == 0).all()
    assert torch.equal(sample["known"][:, 2], torch.tensor([[0.0]] + [[1.0]] * 3).expand(5, 4, 5))


def test_absent_parts_have_no_entry() -> None:
    assert set(from_source(config(), source(), 0).train[0]) == {"frames", "valid", "physical", "start"}


@pytest.mark.parametrize("standardise", ["none", "variable", "cell"])
@pytest.mark.parametrize("departure", ["none", "persistence", "climatology", "damped_anomaly"])
def test_a_crop_is_a_part_of_the_whole(standardise: str, departure: str) -> None:
    chosen = config(
        transforms={"anomaly": "month", "standardise": standardise},
        extra_inputs=["mask", "calendar"],
        departure_from=departure,
    )
    found = from_source(chosen, source(height=6, width=9), 0).train
    whole, part = found[2], found.sample(2, Box(1, 3, 4, 5))
    assert set(whole) == set(part)
    for name, value in part.items():
        expected = whole[name] if name == "start" else whole[name][..., 1:5, 3:8]
        assert torch.equal(value, expected), name


def test_there_is_no_window_beyond_the_last() -> None:
    found = from_source(config(), source(), 0).train
    with pytest.raises(IndexError):
        found[len(found)]
    assert len(list(found)) == len(found)


def test_the_hash_names_the_windows() -> None:
    def hashed(**values: object) -> str:
        return from_source(config(**values), source(), 0).windows_hash

    same = hashed()
    assert hashed(transforms={"standardise": "none"}) == same, "how they are seen does not matter"
    changed = [
        hashed(input_steps=4),
        hashed(horizon=3),
        hashed(window_stride=2),
        hashed(split={"gap_steps": 5}),
        from_source(config(), source(61), 0).windows_hash,
    ]
    assert len({same, *changed}) == len(changed) + 1


def test_too_few_steps_are_told_in_numbers() -> None:
    message = (
        r"record: the validation part has 9 time steps \(2003-06-16 to 2004-02-16\), but one window needs 11 "
        r"\(6 input \+ 5 horizon\)"
    )
    with pytest.raises(DataError, match=message):
        from_source(config(input_steps=6, horizon=5), source(), 0)


def test_fields_without_times() -> None:
    record = ArraySource(seasonal(60))
    data = from_source(config(departure_from="damped_anomaly", extra_inputs=["mask"]), record, 0)
    assert data.train.raw(0).times is None
    assert data.train[0]["base"].shape == (4, 1, 4, 5)
    with pytest.raises(DataError, match="'calendar' needs times"):
        from_source(config(extra_inputs=["calendar"]), record, 0)
    with pytest.raises(DataError, match="a climatology by month needs times"):
        from_source(config(transforms={"anomaly": "month"}), record, 0)


def test_the_base_of_a_crop_sees_what_moves_into_it() -> None:
    """A shower beyond the crop that comes into it: the base of the crop is that of the whole field, cut."""
    steps, size = 60, 48
    y, x = np.mgrid[:size, :size]
    places = 2.0 * (np.arange(steps) % 12)[:, None, None]
    fields = np.exp(-((y - 24) ** 2 + (x - 8 - places) ** 2) / 20).astype(np.float32)[:, None]
    chosen = config(departure_from="extrapolation", input_steps=4, horizon=4, transforms={"standardise": "none"})
    data = from_source(chosen, ArraySource(fields), 0)
    box = Box(16, 20, 16, 16)
    whole, part = data.train.sample(0), data.train.sample(0, box)
    assert box.around((size, size)) == Box(0, 4, 48, 44)
    rows, columns = box.slices
    cut = whole["base"][..., rows, columns]
    assert (part["base"] - cut).abs().max() < 0.05
    alone = data.pipeline.base_track(data.train.raw(0).fields[..., rows, columns], None, 4, box)
    assert alone is not None
    assert (alone - cut).abs().max() > 0.3, "the crop alone does not know what comes"
