"""Configuration of the data set ``moving_mnist``. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from stkit.plugin.config import ComponentConfig


class MovingMnistConfig(ComponentConfig):
    """Digits that move and bounce, made on the fly."""

    digits: int = Field(2, ge=1)
    """In each sequence."""
    size: int = Field(64, ge=28)
    """Height and width of a frame; a digit is 28 x 28."""
    train_sequences: int | None = Field(None, ge=1)
    """Different training sequences; null: every one is new."""
    validation_sequences: int = Field(200, ge=1)
    """Always the same ones, whatever the seed of the recipe."""
    test_file: str | None = None
    """The published test sequences, ``mnist_test_seq.npy`` (20 frames, 10000 sequences, 64 x 64), instead of made ones.
    Had from www.cs.toronto.edu/~nitish/unsupervised_video; null: made."""
    test_sequences: int = Field(1000, ge=1)
    """Always the same ones, whatever the seed of the recipe."""
