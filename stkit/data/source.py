"""What a data set is: a record of fields in time, or sequences that have nothing to do with each other.

Axes: ``T`` time, ``C`` variables, ``H`` rows, ``W`` columns. A missing value is NaN.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, check_times, step_name, typical_step
from stkit.data.optimum import Optimum
from stkit.errors import DataError
from stkit.recipe.sections.data import SplitConfig

Fields = NDArray[np.float32]
Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

_FILL = 1e15
_PIECE_BYTES = 16 * 2**20


class Variable(NamedTuple):
    """What a channel of the fields is."""

    name: str
    units: str = "1"
    long_name: str = ""
    standard_name: str = ""


@dataclass(frozen=True)
class Axis:
    """One horizontal direction."""

    name: str
    values: NDArray[np.float64] | None = None
    """Coordinate of each row or column; None where the file has none."""
    units: str = ""
    standard_name: str = ""

    def matches(self, other: Axis) -> bool:
        """Whether the coordinates agree; without coordinates there is nothing to disagree about."""
        if self.values is None or other.values is None:
            return True
        if self.values.shape != other.values.shape:
            return False
        spacing = np.abs(np.diff(self.values)).min(initial=np.inf)
        tolerance = 0.01 * float(spacing) if np.isfinite(spacing) else 1e-6
        apart = self.values - other.values
        if self.standard_name == other.standard_name == "longitude":  # 350 and -10 are one place
            apart = apart - 360.0 * np.round(apart.mean() / 360.0)
        return bool(np.abs(apart).max() <= tolerance)


class GridMapping(NamedTuple):
    """The coordinate reference system of a grid, as a CF grid mapping variable says it."""

    name: str
    attributes: Mapping[str, Any]


class Places(NamedTuple):
    """Where each cell is, where rows and columns have no latitude and longitude of their own."""

    latitude: NDArray[np.floating]
    """``H W``, degrees north."""
    longitude: NDArray[np.floating]
    """``H W``, degrees east."""


@dataclass(frozen=True)
class Grid:
    """The horizontal grid: height and width, and where its rows and columns are."""

    height: int
    width: int
    y: Axis = Axis("y")
    x: Axis = Axis("x")
    mapping: GridMapping | None = None
    """What the file says of the projection, to be handed on to forecasts; nothing here computes with it."""
    places: Places | None = None
    """As the projection."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def latitude(self) -> NDArray[np.float64] | None:
        """Degrees north of each row; None where the rows are not latitudes."""
        return self.y.values if self.y.standard_name == "latitude" else None

    @property
    def longitude(self) -> NDArray[np.float64] | None:
        """Degrees east of each column; None where the columns are not longitudes."""
        return self.x.values if self.x.standard_name == "longitude" else None

    def difference(self, other: Grid) -> str | None:
        """How ``other`` differs from this grid, as the end of a sentence; None where it does not."""
        if self.shape != other.shape:
            return f"{other.height} x {other.width} cells instead of {self.height} x {self.width}"
        for mine, theirs in ((self.y, other.y), (self.x, other.x)):
            if not mine.matches(theirs) and mine.values is not None and theirs.values is not None:
                return (
                    f"{theirs.name} from {theirs.values[0]:g} to {theirs.values[-1]:g} "
                    f"instead of {mine.values[0]:g} to {mine.values[-1]:g}"
                )
        return None


class FieldSource(ABC):
    """A record of fields on one grid, in order of time.

    Attributes:
        name: what messages and reports call it.
        variables: one for each channel.
        times: ``T`` strictly increasing times, or None where the record only counts steps.
        grid: the horizontal grid.
        steps: length of the record.
        licence: terms of the data, as a sentence; empty where they are not known.
        citation: how to cite it; empty where that is not known.
    """

    name: str
    variables: tuple[Variable, ...]
    times: Times | None
    grid: Grid
    steps: int
    licence: str = ""
    citation: str = ""

    @abstractmethod
    def read(self, start: int, stop: int) -> Fields:
        """The steps ``start`` to ``stop`` (exclusive) in physical units: ``T C H W``, NaN where there is no value."""

    def read_variables(self, start: int, stop: int, channels: Sequence[int]) -> Fields:
        """As :meth:`read`, some channels only; a source that reads them apart overrides it."""
        return self.read(start, stop)[:, list(channels)]

    def moving_mask(self, start: int, stop: int) -> NDArray[np.bool_] | None:
        """``T H W``, a mask that changes in time (True: a cell that counts), or None. :meth:`read` has applied it,
        :meth:`read_variables` has not."""
        return None

    def optimum(self, input_steps: int) -> Optimum | None:
        """The best possible forecast from so many steps; None where the law of the fields is not known.

        It is known of fields that are made, never of those that are measured.
        """
        return None

    @property
    def identity(self) -> str:
        """What tells it from another record with the same variables, grid and times; empty where nothing is known."""
        return ""

    @property
    def latitude(self) -> NDArray[np.float64] | None:
        """Degrees north of each row, or None."""
        return self.grid.latitude

    @property
    def longitude(self) -> NDArray[np.float64] | None:
        """Degrees east of each column, or None."""
        return self.grid.longitude

    @property
    def step_name(self) -> str:
        """One time step in words: ``month``, ``5 min``, ``step``."""
        return step_name(self.times)

    @property
    def typical_step(self) -> np.timedelta64 | None:
        """Median distance of neighbouring times."""
        return typical_step(self.times) if self.times is not None else None

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """``H W``, a mask that the data set itself declares (True: a cell that counts), or None."""
        return None

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """``H W``, False on land: the declared mask, else the cells that have a value at some time in any variable."""
        if self.mask is not None:
            return self.mask
        found = np.zeros(self.grid.shape, dtype=bool)
        for start, stop in self.pieces(0, self.steps):
            found |= np.isfinite(self.read(start, stop)).any(axis=(0, 1))
        return found

    @property
    def block_steps(self) -> int:
        """Steps that are stored together, beginning at step 0; 1 where every step can be read by itself."""
        return 1

    def pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Cut ``start`` to ``stop`` so that one piece fits easily in memory, and no block is read twice for nothing."""
        frame_bytes = 4 * len(self.variables) * self.grid.height * self.grid.width
        length, block = max(1, _PIECE_BYTES // frame_bytes), self.block_steps
        if block <= 4 * length:
            length = max(1, length // block) * block
        edges = [start, *range((start // length + 1) * length, stop, length), stop]
        return list(itertools.pairwise(edges)) if start < stop else []


def without_fill(fields: Fields, where: str) -> Fields:
    """The fields with NaN where a value is not finite.

    Raises:
        DataError: if there are values of a size that no field has and that fill values have (1e20, 9.97e36).
    """
    odd = ~(np.abs(fields) < _FILL)
    found = fields[odd]
    finite = found[np.isfinite(found)]
    if finite.size:
        raise DataError(
            f"{where}: holds {finite[0]:g}, which looks like a fill value that the file does not declare; say "
            f"missing_values: [{float(finite[0])!r}] if it is one"
        )
    fields[odd] = np.nan
    return fields


def masked(fields: Fields, mask: NDArray[np.bool_] | None) -> Fields:
    """Fields ``T C H W`` that are missing where a mask ``T H W`` is False."""
    return fields if mask is None else np.where(mask[:, None], fields, np.float32(np.nan))


class ArraySource(FieldSource):
    """Fields that are in memory already.

    Example:
        >>> source = ArraySource(np.zeros((24, 1, 8, 8), np.float32), variables=[Variable("sst", "degC")])
        >>> source.read(3, 5).shape
        (2, 1, 8, 8)
    """

    def __init__(
        self,
        fields: Fields,
        times: Times | None = None,
        variables: Sequence[Variable] | None = None,
        grid: Grid | None = None,
        name: str = "array",
    ) -> None:
        if fields.ndim != 4:
            raise DataError(f"{name}: fields must be time x variable x height x width, got shape {fields.shape}")
        steps, channels, height, width = fields.shape
        self.name = name
        self.fields = np.ascontiguousarray(fields, dtype=np.float32)
        self.variables = tuple(variables or (Variable(f"field{i}" if i else "field") for i in range(channels)))
        self.times = None if times is None else np.asarray(times, dtype="datetime64[ns]")
        self.grid = grid or Grid(height, width)
        self.steps = steps
        if len(self.variables) != channels:
            raise DataError(f"{name}: {channels} channels but {len(self.variables)} variables are named")
        if self.grid.shape != (height, width):
            raise DataError(f"{name}: fields are {height} x {width} but the grid is {self.grid.shape}")
        if self.times is not None and self.times.shape != (steps,):
            raise DataError(f"{name}: {steps} fields but {self.times.size} times")
        if self.times is not None:
            check_times(self.times, name, allow_gaps=True)

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`FieldSource.read`."""
        return self.fields[start:stop]


@dataclass
class SequenceSource(ABC):
    """Short sequences without a common time, made or read one by one.

    Attributes:
        name: what messages and reports call it.
        variables: one for each channel.
        grid: the horizontal grid.
    """

    name: str
    variables: tuple[Variable, ...]
    grid: Grid
    licence: str = field(default="", kw_only=True)
    citation: str = field(default="", kw_only=True)

    @abstractmethod
    def sequence(self, part: Part, number: int, length: int, seed: int) -> Fields:
        """Sequence ``number`` of a part: ``T C H W``. ``seed`` acts on the training part only: the others are fixed."""

    @abstractmethod
    def count(self, part: Part) -> int | None:
        """How many sequences a part has; None where they never end."""

    def arranged(self, frames: int, stride: int, split: SplitConfig) -> SequenceSource:
        """The same as sequences of ``frames`` frames that start ``stride`` apart, split as a recipe says.

        Raises:
            DataError: if its sequences and parts are as they are, and other ones are asked for.
        """
        if split != SplitConfig():
            raise DataError(f"data.split: {self.name} has its own training, validation and test parts: leave it out")
        if stride != 1:
            raise DataError(f"data.window_stride: each sequence of {self.name} is one window: leave it out")
        return self

    @property
    def identity(self) -> str:
        """What tells it from another source of the same name, variables and grid; empty where nothing is known."""
        return ""

    @property
    def step_name(self) -> str:
        """One time step in words."""
        return "step"

    @property
    def times(self) -> None:
        """Sequences have no common time."""
        return None

    @property
    def latitude(self) -> NDArray[np.float64] | None:
        """Degrees north of each row, or None."""
        return self.grid.latitude

    @property
    def longitude(self) -> NDArray[np.float64] | None:
        """Degrees east of each column, or None."""
        return self.grid.longitude

    @property
    def valid(self) -> NDArray[np.bool_]:
        """``H W``: every cell counts."""
        return np.ones(self.grid.shape, dtype=bool)
