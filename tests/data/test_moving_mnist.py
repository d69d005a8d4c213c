from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.data.moving_mnist import MovingMnist, digit_images, trajectories
from stkit.data.moving_mnist_config import MovingMnistConfig
from stkit.data.prepare import from_source
from stkit.data.source import PARTS
from stkit.errors import DataError
from tests.data.fields import config, seeds


def generator(**values: int | None) -> MovingMnist:
    return MovingMnist.from_config(MovingMnistConfig.model_validate({"name": "moving_mnist", **values}))


@given(seed=seeds, digits=st.integers(1, 3), length=st.integers(1, 30), side=st.integers(0, 50))
def test_digits_move_by_a_tenth_of_the_box_and_stay_inside(seed: int, digits: int, length: int, side: int) -> None:
    paths = trajectories(np.random.default_rng(seed), digits, length, side)
    assert paths.shape == (digits, length, 2)
    assert paths.min() >= 0
    assert paths.max() <= side
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=-1)
    assert (steps <= 0.1 * side + np.sqrt(2)).all(), "the rounding to cells is at most one in each direction"


def test_a_digit_that_meets_no_wall_goes_straight_on() -> None:
    paths = trajectories(np.random.default_rng(0), 400, 4, 10_000)
    inside = ((paths > 0) & (paths < 10_000)).all((1, 2))
    steps = np.diff(paths[inside], axis=1)
    assert inside.sum() > 100
    np.testing.assert_allclose(np.linalg.norm(steps, axis=-1), 1000, atol=2)
    assert np.abs(np.diff(steps, axis=1)).max() <= 1


@settings(max_examples=20)
@given(part=st.sampled_from(PARTS), number=st.integers(0, 100_000), seed=seeds, digits=st.integers(1, 4))
def test_a_sequence_is_a_function_of_seed_part_and_number(part: str, number: int, seed: int, digits: int) -> None:
    one = generator(digits=digits).sequence(part, number, 6, seed)
    assert one.shape == (6, 1, 64, 64)
    assert one.dtype == np.float32
    assert one.min() == 0
    assert 0.5 < one.max() <= 1
    np.testing.assert_array_equal(one, generator(digits=digits).sequence(part, number, 6, seed))
    assert not np.array_equal(one, generator(digits=digits).sequence(part, number + 1, 6, seed))
    same_for_all_seeds = np.array_equal(one, generator(digits=digits).sequence(part, number, 6, seed + 1))
    assert same_for_all_seeds == (part != "train")


def test_a_longer_sequence_begins_like_a_shorter_one() -> None:
    moving = generator()
    np.testing.assert_array_equal(moving.sequence("test", 0, 20, 0)[:12], moving.sequence("test", 0, 12, 0))


def test_the_parts_share_no_digit_image() -> None:
    seen = {part: {image.tobytes() for image in digit_images(part)} for part in PARTS}
    assert {part: len(images) for part, images in seen.items()} == {"train": 6000, "validation": 1000, "test": 2000}
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


def test_where_digits_overlap_the_brighter_one_is_seen() -> None:
    frame = generator(size=28, digits=2).sequence("test", 0, 1, 0)[0, 0]
    brightest = (frame * 255).round().astype(np.uint8)
    images = digit_images("test")
    under = [image for image in images if (image <= brightest).all()]
    assert any(np.array_equal(np.maximum(a, b), brightest) for a in under for b in under)


def test_options() -> None:
    moving = generator(size=40, digits=1, train_sequences=7, validation_sequences=5, test_sequences=6)
    assert moving.sequence("train", 0, 3, 0).shape == (3, 1, 40, 40)
    data = from_source(config(dataset={"name": "moving_mnist"}), moving, 0)
    assert [len(windows) for windows in (data.train, data.validation, data.test)] == [7, 5, 6]
    assert not data.train.endless
    assert from_source(config(dataset={"name": "moving_mnist"}), generator(), 0).train.endless


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": {"train": 0.5}}, r"data\.split: moving_mnist has its own .* parts"),
        ({"window_stride": 2}, r"data\.window_stride: each sequence of moving_mnist is one window"),
        ({"extra_inputs": ["calendar"]}, "'calendar' needs times"),
        ({"transforms": {"anomaly": "month"}}, "a climatology by month needs times"),
    ],
)
def test_what_does_not_go_with_sequences(values: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_source(config(dataset={"name": "moving_mnist"}, **values), generator(train_sequences=5), 0)
