"""What a verification score is: additive statistics of each window, and a number made from their sum.

Because the statistics add up, chunks give what the whole gives, and processes reduce by a sum.

Axes: ``M`` members, ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of a
score, ``K`` points of a curve.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from stkit.data.record import Record
from stkit.data.source import Grid, Variable
from stkit.evaluate.climatology import Climatology
from stkit.plugin.config import ComponentConfig

Array = NDArray[np.float64]
Better = Literal["lower", "higher", "zero", "one"]

MOST_KEPT = 8
"""A score that is made of more statistics than these keeps none of each window, and has no interval: a spectrum."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Forecasts beside the truth, in physical units."""

    forecast: Array
    """``B L C H W``; finite where ``counted``. Of an ensemble: the mean of its members."""
    truth: Array
    """``B L C H W``; finite where ``counted``."""
    counted: NDArray[np.bool_]
    """``B L C H W``: cells that are finite in the truth and in every forecast that is compared."""
    weights: Array
    """``H W``: weight of a cell, proportional to its area; ones where the grid has no latitude."""
    climatology: Array | None = None
    """``B L C H W``: climatology of the training part at the valid times; None where no score asked for it."""
    members: Array | None = None
    """``M B L C H W``: the members of an ensemble; None: the forecast is the only one."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a score may learn from before it is used: the training part, and nothing else."""

    record: Record
    variables: tuple[Variable, ...]
    grid: Grid
    """That of the fields which are scored."""
    climatology: Climatology | None = None
    """None where no score asked for it."""
    valid: NDArray[np.bool_] | None = None
    """``C H W``: where each variable counts on the grid, False on land; None: everywhere."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What a score knows besides its number: a line over some axis, for each lead time and variable."""

    x_label: str
    """What the axis is, with its unit."""
    x: tuple[float, ...]
    """``K`` places on it."""
    lines: Mapping[str, Array] = field(default_factory=dict)
    """By name, ``K L C``; NaN where it is not defined."""


class Metric(ABC):
    """A score of a set of forecasts, for each lead time and variable."""

    label: str
    """Short name for a table, where ``{u}`` stands for the field's unit."""
    convention: str
    """How the number is made, in one sentence. It is shown wherever the number is."""
    better: Better
    """Which way is better; ``zero``: the nearer to zero; ``one``: the nearer to one, as a ratio."""
    unit: str
    """The unit, where ``{u}`` stands for the field's: ``"{u}"``, ``"({u})^2"``, ``"1"``, ``"dB"``."""
    statistics: int
    """How many sums it keeps (``S``)."""
    score_statistics: int | None = None
    """How many of the first of them the number is made from, the others being for what is told beside it; None: all."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """The least and the greatest that the number can be: no interval goes beyond."""
    needs_climatology: bool = False
    """It compares with the climatology of the training part."""
    useful_from: float | None = None
    """The forecast is called useful as long as the score is not below this: the last such lead time is told."""

    @classmethod
    def from_config(cls, config: ComponentConfig) -> Self:
        """The score that a recipe names; one of those that :meth:`stkit.api.MetricConfig.scores` lists."""
        return cls()

    def fit(self, training: Training) -> None:  # noqa: B027 - few scores learn anything
        """Learn what it needs of the training part; called once, before anything is compared.

        Raises:
            DataError: if the data do not suffice or do not fit.
        """

    @abstractmethod
    def sums(self, comparison: Comparison) -> Array:
        """Statistics ``B S L C`` of each window. Those of any windows may be added."""

    @abstractmethod
    def score(self, sums: Array) -> Array:
        """The number ``L C`` from added statistics ``S L C``; NaN where it is not defined.

        Each lead time by itself. It is also called with the first :attr:`kept` statistics alone, those of resampled
        windows, and then ``L`` is any number of resamples.
        """

    @property
    def kept(self) -> int:
        """How many statistics of each window are kept, to make the 95 % interval of: 0 where they are too many."""
        needed = self.statistics if self.score_statistics is None else self.score_statistics
        return needed if needed <= MOST_KEPT else 0

    def beside(self, sums: Array) -> Mapping[str, Array]:
        """Numbers that belong beside the score, by name: ``L C`` from added statistics, those of the model."""
        return {}

    def curve(self, sums: Array) -> Curve | None:
        """What it knows besides its number, from added statistics; None where that is all."""
        return None


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
