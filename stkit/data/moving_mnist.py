"""Moving MNIST: two digits that move through a square and bounce off its walls.

Srivastava, Mansimov and Salakhutdinov (2015), Unsupervised Learning of Video Representations using LSTMs,
arXiv:1502.04681. Written from the description of the procedure: a digit's corner starts anywhere in a box of side
``size - 28``, moves by a tenth of that side each frame in a random direction, stops at a wall it would cross and
reflects there; where digits overlap the brighter one is seen.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stkit.data.arrays import ArrayClip, load_array
from stkit.data.frames_config import ArraysConfig
from stkit.data.moving_mnist_config import MovingMnistConfig
from stkit.data.packaged.fields import packaged_path
from stkit.data.readers.layout import had_from
from stkit.data.source import PARTS, Fields, Grid, Part, SequenceSource, Variable
from stkit.errors import DataError

DIGIT = 28
STEP = 0.1
"""Distance moved in a frame, as a share of the box's side."""

_KEYS: dict[Part, str] = {"train": "train", "validation": "val", "test": "test"}
_FIXED_SEED = 2015
"""Of the validation and test sequences, so that they are the same for every recipe."""


class MovingMnist(SequenceSource):
    """Sequences made on the fly, each a function of the seed, the part and its number.

    The three parts use digit images of their own: a test sequence shows no image that was trained on.
    """

    def __init__(self, config: MovingMnistConfig) -> None:
        super().__init__(
            name="moving_mnist",
            variables=(Variable("brightness", "1", "brightness of the pixel"),),
            grid=Grid(config.size, config.size),
            licence="MNIST: Yann LeCun and Corinna Cortes, CC BY-SA 3.0",
            citation="Srivastava, Mansimov and Salakhutdinov (2015), arXiv:1502.04681",
        )
        self.config = config
        self._test = None if config.test_file is None else _published(config)

    @classmethod
    def from_config(cls, config: MovingMnistConfig) -> MovingMnist:
        """Make the generator that a recipe names."""
        return cls(config)

    def count(self, part: Part) -> int | None:
        """See :meth:`stkit.data.source.SequenceSource.count`."""
        return {
            "train": self.config.train_sequences,
            "validation": self.config.validation_sequences,
            "test": self.config.test_sequences if self._test is None else self._sequences_of_file(),
        }[part]

    def _sequences_of_file(self) -> int:
        assert self._test is not None
        return int(load_array(self._test.path, None).shape[1])

    @property
    def identity(self) -> str:
        """The published test sequences, where they are used."""
        return "" if self._test is None else self._test.path.name

    def sequence(self, part: Part, number: int, length: int, seed: int) -> Fields:
        """One sequence, ``T 1 H W`` in [0, 1]. See :meth:`stkit.data.source.SequenceSource.sequence`."""
        if part == "test" and self._test is not None:
            if length > self._test.frames:
                raise DataError(f"{self._test.path}: its sequences have {self._test.frames} frames, not {length}")
            return ArrayClip(self._test.path, self._test.config, number).read(0, length)
        entropy = (seed if part == "train" else _FIXED_SEED, PARTS.index(part), number)
        rng = np.random.default_rng(entropy)
        images = digit_images(part)
        chosen = rng.integers(len(images), size=self.config.digits)
        paths = trajectories(rng, self.config.digits, length, self.config.size - DIGIT)
        frames = np.zeros((length, self.config.size, self.config.size), dtype=np.uint8)
        for index, path in zip(chosen, paths, strict=True):
            for frame, (top, left) in zip(frames, path, strict=True):
                under = frame[top : top + DIGIT, left : left + DIGIT]
                np.maximum(under, images[index], out=under)
        return np.divide(frames[:, None], 255, dtype=np.float32)


def _published(config: MovingMnistConfig) -> ArrayClip:
    assert config.test_file is not None
    path = Path(os.path.expanduser(config.test_file))
    if not path.is_file():
        raise DataError(f"{config.test_file}: there is no such file. {had_from(config, 'test_file')}")
    shape = load_array(path, None).shape
    if len(shape) != 4 or shape[2:] != (config.size, config.size):
        raise DataError(f"{path}: expected frames x sequences x {config.size} x {config.size}, got {shape}")
    return ArrayClip(path, ArraysConfig(name="arrays", path=str(path), axes="TNHW", scale=1 / 255), 0)


def trajectories(rng: np.random.Generator, digits: int, length: int, side: int) -> NDArray[np.int64]:
    """The upper left corners of the digits: ``digits length 2``, each coordinate in [0, side]."""
    place = rng.uniform(size=(digits, 2))
    angle = rng.uniform(0, 2 * np.pi, size=digits)
    velocity = STEP * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    path = np.empty((digits, length, 2))
    for step in range(length):
        place = place + velocity
        outside = (place < 0) | (place > 1)
        velocity = np.where(outside, -velocity, velocity)
        place = place.clip(0, 1)
        path[:, step] = place
    return (side * path).astype(np.int64)


@cache
def digit_images(part: Part) -> NDArray[np.uint8]:
    """The digit images of a part: ``N 28 28``.

    Raises:
        DataError: if the packaged file is missing or damaged.
    """
    path = packaged_path("mnist_digits_9k.npz")
    try:
        with np.load(path, allow_pickle=False) as archive:
            images: NDArray[np.uint8] = archive[_KEYS[part]]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: cannot read the packaged digits ({error}); install stkit-torch again") from error
    return images
