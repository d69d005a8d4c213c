"""A stretch of data that something is fitted to, read piece by piece so that it never has to fit in memory."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from stkit.data.calendar import Times, breaks
from stkit.data.source import ArraySource, Fields, FieldSource, SequenceSource


class Piece(NamedTuple):
    """Consecutive frames."""

    fields: Tensor
    """``T C H W``, physical units, NaN where there is no value."""
    times: Times | None
    """``T``."""
    follows: bool
    """Whether its first frame is one step after the last frame of the piece before."""


class Record(ABC):
    """What statistics, climatologies and baselines are fitted to. It can be gone through more than once."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Variables, height, width."""

    @property
    @abstractmethod
    def times(self) -> Times | None:
        """Times of all frames; None where there are none."""

    @property
    def latitude(self) -> NDArray[np.float64] | None:
        """Degrees north of each row; None where there is none."""
        return None

    @abstractmethod
    def __iter__(self) -> Iterator[Piece]:
        """The pieces in order."""

    @staticmethod
    def of(fields: Float[Tensor, "T C H W"] | Fields | Record, times: Times | None = None) -> Record:
        """A record of an array (``T C H W``); a record stays what it is."""
        if isinstance(fields, Record):
            return fields
        array = fields.detach().cpu().numpy() if isinstance(fields, Tensor) else fields
        source = ArraySource(array, times)
        return SpanRecord(source, 0, source.steps)


@dataclass(frozen=True)
class SpanRecord(Record):
    """The steps ``start`` to ``stop`` (exclusive) of a source; what its mask hides is missing."""

    source: FieldSource
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Variables, height, width."""
        return len(self.source.variables), *self.source.grid.shape

    @property
    def times(self) -> Times | None:
        """Times of the span."""
        return None if self.source.times is None else self.source.times[self.start : self.stop]

    @property
    def latitude(self) -> NDArray[np.float64] | None:
        """Degrees north of each row; None where there is none."""
        return self.source.latitude

    def __iter__(self) -> Iterator[Piece]:
        times = self.source.times
        mask = None if self.source.mask is None else torch.from_numpy(self.source.mask)
        jumps = set() if times is None else {int(i) + 1 for i in breaks(times)}
        borders = [self.start, *sorted(j for j in jumps if self.start < j < self.stop), self.stop]
        for first, last in itertools.pairwise(borders):
            for start, stop in self.source.pieces(first, last):
                fields = torch.from_numpy(np.array(self.source.read(start, stop)))
                if mask is not None:
                    fields = torch.where(mask, fields, torch.nan)
                follows = start > self.start and start not in jumps
                yield Piece(fields, None if times is None else times[start:stop], follows)


@dataclass(frozen=True)
class SequencesRecord(Record):
    """Some sequences of the training part."""

    source: SequenceSource
    number: int
    """How many."""
    length: int
    """Frames of each."""
    seed: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Variables, height, width."""
        return len(self.source.variables), *self.source.grid.shape

    @property
    def times(self) -> None:
        """Sequences have no common time."""
        return None

    def __iter__(self) -> Iterator[Piece]:
        for index in range(self.number):
            frames = self.source.sequence("train", index, self.length, self.seed)
            yield Piece(torch.from_numpy(frames), None, False)


@dataclass(frozen=True)
class JoinedRecord(Record):
    """Records of the same variables and grid, one after the other; none follows the one before it without a gap."""

    records: tuple[Record, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Variables, height, width."""
        return self.records[0].shape

    @property
    def times(self) -> Times | None:
        """Times of all frames."""
        found = [record.times for record in self.records]
        times = [one for one in found if one is not None]
        return np.concatenate(times) if len(times) == len(found) else None

    def __iter__(self) -> Iterator[Piece]:
        return itertools.chain.from_iterable(self.records)
