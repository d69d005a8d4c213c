"""Which convolutions make the gates of a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

from stkit.cells.convolution import shifts
from stkit.cells.gatewise.planes import slices_of
from stkit.cells.onednn import Inputs

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock


@dataclass(frozen=True, eq=False)
class Convolution:
    """One of those that make a gate."""

    field: int
    """Which of the block's tensors it reads, counted over all sources."""
    source: int
    rows: slice
    """Of the source's kernel: those of the gate."""
    columns: slice
    """Of the source's kernel: those of the tensor."""
    place: int
    """Which slice of the source's kernel."""
    shift: int
    """How many slices of the tensor further on it reads."""

    def of(self, kernels: Sequence[Tensor]) -> Tensor:
        """Its part of the sources' kernels, ``C_out C_in k k``."""
        return slices_of(kernels[self.source])[self.place][self.rows, self.columns]

    def runs(self, batch: int, depth: int) -> list[tuple[slice, slice]]:
        """Planes of the result, and those of the tensor that they are made of."""
        if not self.shift:
            return [(slice(0, batch * depth),) * 2]
        first, last = max(0, -self.shift), depth - max(0, self.shift)
        return [
            (slice(begin + first, begin + last), slice(begin + first + self.shift, begin + last + self.shift))
            for begin in range(0, batch * depth, depth)
            if first < last
        ]


Gates = dict[str, list[Convolution]]


def convolutions(block: GateBlock, inputs: Inputs) -> Gates:
    """Those that make each gate of a block, for tensors with so many channels as these."""
    made: Gates = {gate: [] for gate in block.gates}
    field = 0
    for number, (name, source) in enumerate(block.sources.items()):
        slices = len(slices_of(block.kernels[name]))
        for columns in bounds([part.shape[1] for part in inputs[name]]):
            for gate, rows in zip(source.gates, bounds([block.width] * len(source.gates)), strict=True):
                for place, shift in enumerate(shifts(slices)):
                    made[gate].append(Convolution(field, number, rows, columns, place, shift))
            field += 1
    return made


def sources(gate: Sequence[Convolution]) -> dict[int, slice]:
    """Which sources feed a gate, and the rows of their kernels that are its own."""
    return {one.source: one.rows for one in gate}


def bounds(sizes: Sequence[int]) -> list[slice]:
    """Where pieces of these sizes lie, one behind the other."""
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]
