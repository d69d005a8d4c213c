from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.data.moving_mnist import MovingMnist
from stkit.data.moving_mnist_config import MovingMnistConfig
from stkit.data.prepare import PreparedData, from_source
from stkit.data.stream import TrainStream
from stkit.errors import UsageError
from stkit.recipe.sections.data import CropConfig
from tests.data.fields import config, seeds, source


@pytest.fixture(scope="module")
def data() -> PreparedData:
    return from_source(config(departure_from="persistence", extra_inputs=["mask", "calendar"]), source(), 0)


@pytest.fixture(scope="module")
def digits() -> PreparedData:
    generator = MovingMnist(MovingMnistConfig(name="moving_mnist", validation_sequences=3, test_sequences=4))
    chosen = config(dataset={"name": "moving_mnist"}, transforms={"standardise": "none"})
    return from_source(chosen, generator, 5)


CROP = CropConfig(height=3, width=2)


@given(seed=seeds, share=st.integers(1, 4), world=st.integers(1, 4), step=st.integers(0, 500))
def test_the_processes_tile_the_batch(data: PreparedData, seed: int, share: int, world: int, step: int) -> None:
    batch = share * world
    whole = TrainStream(data.train, seed, batch, crop=CROP)
    parts = [TrainStream(data.train, seed, batch, rank, world, CROP) for rank in range(world)]
    assert list(itertools.chain.from_iterable(part.indices(step) for part in parts)) == whole.indices(step)
    assert list(itertools.chain.from_iterable(part.boxes(step) for part in parts)) == whole.boxes(step)


@given(seed=seeds, batch=st.integers(1, 60))
def test_every_window_comes_once_in_an_epoch(data: PreparedData, seed: int, batch: int) -> None:
    stream, count = TrainStream(data.train, seed, batch), len(data.train)
    steps = -(-3 * count // batch)
    order = list(itertools.chain.from_iterable(stream.indices(step) for step in range(steps)))
    epochs = [order[start : start + count] for start in range(0, 3 * count, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@given(seed=seeds, steps=st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_a_step_does_not_depend_on_the_steps_before(data: PreparedData, seed: int, steps: list[int]) -> None:
    used = TrainStream(data.train, seed, 7, crop=CROP)
    for step in steps:
        fresh = TrainStream(data.train, seed, 7, crop=CROP)
        assert used.indices(step) == fresh.indices(step)
        assert used.boxes(step) == fresh.boxes(step)


def test_the_seed_gives_the_order(data: PreparedData) -> None:
    one, other = TrainStream(data.train, 0, 8, crop=CROP), TrainStream(data.train, 1, 8, crop=CROP)
    assert one.indices(0) != other.indices(0)
    assert one.boxes(0) != other.boxes(0)
    assert len(set(one.boxes(0))) > 1


@given(seed=seeds, height=st.integers(1, 4), width=st.integers(1, 5))
@settings(max_examples=30)
def test_crops_lie_inside_and_go_everywhere(data: PreparedData, seed: int, height: int, width: int) -> None:
    stream = TrainStream(data.train, seed, 64, crop=CropConfig(height=height, width=width))
    boxes = [box for step in range(4) for box in stream.boxes(step) if box is not None]
    assert all(0 <= box.top <= 4 - height and 0 <= box.left <= 5 - width for box in boxes)
    assert {box.top for box in boxes} == set(range(4 - height + 1))
    assert {box.left for box in boxes} == set(range(5 - width + 1))


def test_a_batch_is_its_samples(data: PreparedData) -> None:
    stream = TrainStream(data.train, 3, 4, crop=CROP)
    batch = stream.batch(9)
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "frames": (4, 5, 1, 3, 2),
        "valid": (4, 5, 1, 3, 2),
        "physical": (4, 5, 1, 3, 2),
        "known": (4, 5, 3, 3, 2),
        "base": (4, 4, 1, 3, 2),
        "start": (4,),
    }
    for place, (index, box) in enumerate(zip(stream.indices(9), stream.boxes(9), strict=True)):
        for name, value in data.train.sample(index, box).items():
            assert torch.equal(batch[name][place], value)


@pytest.mark.parametrize("name", ["data", "digits"])
def test_workers_change_nothing_and_draw_no_random_numbers(name: str, request: pytest.FixtureRequest) -> None:
    stream = TrainStream(request.getfixturevalue(name).train, 3, 4)
    state = torch.get_rng_state()
    alone = list(stream.batches(5, 9))
    shared = list(stream.batches(5, 9, workers=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(alone) == len(shared) == 4
    for one, other in zip(alone, shared, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_resumed_stream_goes_on(data: PreparedData) -> None:
    stream = TrainStream(data.train, 3, 4, crop=CROP)
    whole = list(stream.batches(0, 6))
    resumed = list(TrainStream(data.train, 3, 4, crop=CROP).batches(3, 6))
    for one, other in zip(whole[3:], resumed, strict=True):
        assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_new_sequences_never_come_again(digits: PreparedData) -> None:
    ranks = [TrainStream(digits.train, 0, 6, rank, 2) for rank in range(2)]
    seen = [number for step in range(3000) for stream in ranks for number in stream.indices(step)]
    assert len(set(seen)) == len(seen) == 18_000
    assert not torch.equal(ranks[0].batch(0)["frames"], ranks[1].batch(0)["frames"])
    assert not torch.equal(ranks[0].batch(0)["frames"], ranks[0].batch(1)["frames"])


def test_what_is_refused(data: PreparedData) -> None:
    with pytest.raises(UsageError, match="8 windows cannot be shared equally by 3 processes; take 6 or 9"):
        TrainStream(data.train, 0, 8, 0, 3)
    with pytest.raises(UsageError, match="5 x 2 cells do not fit in the field of 4 x 5"):
        TrainStream(data.train, 0, 8, crop=CropConfig(height=5, width=2))
    with pytest.raises(UsageError, match="do not fit"):
        from_source(config(crop={"height": 4, "width": 6}), source(), 0)


def turn(values: torch.Tensor, quarters: int, mirrored: bool) -> torch.Tensor:
    return torch.rot90(values.flip(-1) if mirrored else values, quarters, (-2, -1))


def test_crops_are_turned_and_mirrored_with_all_their_tensors(data: PreparedData) -> None:
    """Eight ways of lying there, each tensor of a sample the same way; without turns everything is as it was."""
    plain = TrainStream(data.train, 3, 64, crop=CropConfig(height=3, width=3))
    turned = TrainStream(data.train, 3, 64, crop=CropConfig(height=3, width=3, turns=True))
    assert plain.boxes(0) == turned.boxes(0)
    ways = set()
    before, after = plain.batch(0), turned.batch(0)
    for number in range(64):
        pairs = [(before[name][number], after[name][number]) for name in ("frames", "valid", "base", "known")]
        found = [
            (quarters, mirrored)
            for quarters in range(4)
            for mirrored in (False, True)
            if all(torch.equal(turn(values, quarters, mirrored), kept) for values, kept in pairs)
        ]
        assert len(found) == 1
        ways.update(found)
    assert len(ways) == 8
    assert torch.equal(before["start"], after["start"])


def test_turns_are_of_squares_and_leave_other_recipes_as_they_are() -> None:
    with pytest.raises(ValueError, match="turns are of squares: height 3 and width 2 should be the same"):
        CropConfig(height=3, width=2, turns=True)
    assert CropConfig(height=3, width=2).model_dump() == {"height": 3, "width": 2}
    assert CropConfig(height=3, width=3, turns=True).model_dump()["turns"] is True
