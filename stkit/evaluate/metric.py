"""What a verification score is: additive statistics of a batch, and a number made from their sum.

Because the statistics add up, chunks give what the whole gives, and processes reduce by a sum.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of the score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from stkit.plugin.config import ComponentConfig

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Forecasts beside the truth, in physical units."""

    forecast: Array
    """``B L C H W``; finite where ``counted``."""
    truth: Array
    """``B L C H W``; finite where ``counted``."""
    counted: NDArray[np.bool_]
    """``B L C H W``: cells that are finite in the truth and in every forecast that is compared."""
    weights: Array
    """``H W``: weight of a cell, proportional to its area; ones where the grid has no latitude."""
    climatology: Array | None = None
    """``B L C H W``: climatology of the training part at the valid times; None where no score asked for it."""


class Metric(ABC):
    """A score of a set of forecasts, for each lead time and variable."""

    label: ClassVar[str]
    """Short name for a table."""
    convention: ClassVar[str]
    """How the number is made, in one sentence. It is shown wherever the number is."""
    better: ClassVar[Literal["lower", "higher", "zero"]]
    """Which way is better; ``zero``: the nearer to zero."""
    unit: ClassVar[str]
    """The unit, where ``{u}`` stands for the field's: ``"{u}"``, ``"({u})^2"``, ``"1"``, ``"dB"``."""
    statistics: ClassVar[int]
    """How many sums it keeps (``S``)."""
    needs_climatology: ClassVar[bool] = False

    @classmethod
    def from_config(cls, config: ComponentConfig) -> Self:
        """The score that a recipe names."""
        return cls()

    @abstractmethod
    def sums(self, comparison: Comparison) -> Array:
        """Statistics ``S L C`` of a batch. Those of two batches may be added."""

    @abstractmethod
    def score(self, sums: Array) -> Array:
        """The number ``L C`` from added statistics; NaN where it is not defined."""


def area_weights(latitude: NDArray[np.floating] | None, height: int, width: int) -> Array:
    """Cosine of latitude for each cell, ``H W``; ones where there is no latitude.

    Args:
        latitude: degrees north, ``H``, or ``H W`` on a curvilinear grid.
        height: rows of the grid.
        width: columns of the grid.
    """
    if latitude is None:
        return np.ones((height, width))
    degrees = np.asarray(latitude, dtype=np.float64)
    weights = np.cos(np.deg2rad(degrees)).clip(min=0.0)
    return np.array(np.broadcast_to(weights[:, None] if weights.ndim == 1 else weights, (height, width)))


def ratio(numerator: Array, denominator: Array) -> Array:
    """``numerator / denominator``, NaN where nothing was counted."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
