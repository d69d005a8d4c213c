"""Memory for the fields of a step.

torch asks the C library for memory at a multiple of 64 bytes. glibc finds it in a larger block and gives back what is
over before and behind it, where small objects settle. When the field is freed its hole is thus too small for the next
field of that size, and between fields that a training keeps most holes stay empty: a third of its memory. Memory that
is not asked for at a multiple comes back into a hole of its size; the field begins in it where it is to begin.

The last fields that were freed leave their memory to the next ones of their size: it need not be found, nor cleared by
the system where large blocks go back to it, and it is still near the processor.

Axes: ``B`` batch, ``C`` channels, then the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stkit.cells.modes import seen_by_modes

BEGIN = 64
"""Bytes: a field begins at a multiple, as torch's do."""
LEAST = 2**16
"""Bytes from which on it is done."""
MOST, SIZES = 2**22, 4
"""Bytes of freed fields that are held for the next ones, and of how many sizes."""
_TYPES = {torch.float32: np.dtype(np.float32).str, torch.float64: np.dtype(np.float64).str}


def empty_field(shape: Sequence[int], dtype: torch.dtype, *, channels_last: bool) -> Tensor:
    """A field ``B C *grid`` of any numbers, in float32 or float64 on a processor.

    Args:
        shape: of it.
        dtype: of its numbers.
        channels_last: in memory; otherwise it is contiguous.
    """
    shape = tuple(shape)
    size, numbers, strides = _layout(shape, dtype, channels_last)
    if size < LEAST or seen_by_modes():  # a mode may count what is made
        layout = torch.contiguous_format
        if channels_last:
            layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        return torch.empty(shape, dtype=dtype, memory_format=layout)
    return torch.from_numpy(np.asarray(_Field(size, shape, numbers, strides)))


def empty_field_like(field: Tensor) -> Tensor:
    """As :func:`empty_field`, for a field that is contiguous or channels last in memory, in that layout."""
    return empty_field(field.shape, field.dtype, channels_last=not field.is_contiguous())


@cache
def _layout(shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool) -> tuple[int, str, tuple[int, ...]]:
    """Bytes, NumPy's name of the type, and the bytes from one index to the next."""
    order = [0, *range(2, len(shape)), 1] if channels_last else [*range(len(shape))]
    strides, step = [0] * len(shape), dtype.itemsize
    for axis in reversed(order):
        strides[axis], step = step, step * shape[axis]
    return step, _TYPES[dtype], tuple(strides)


class Freed:
    """Memory of fields that were freed, by size. Any thread may give and take, also while another one does."""

    def __init__(self) -> None:
        self._rooms: tuple[tuple[int, list[tuple[int, Any]]], ...] = ()

    def take(self, size: int) -> tuple[int, Any]:
        """Where so many bytes begin, and what they lie in."""
        known = self._of(size)
        try:
            if known is not None:
                return known.pop()
        except IndexError:
            pass
        room = np.empty(size + BEGIN, np.uint8)
        begin = room.__array_interface__["data"][0]
        return begin + -begin % BEGIN, room

    def give(self, size: int, place: tuple[int, Any]) -> None:
        """What a field of so many bytes lay in."""
        known, full = self._of(size), self.held + size > MOST
        if known is None and len(self._rooms) < SIZES:
            known = []
            self._rooms += ((size, known),)
        if known is None or (full and not known):  # fields have other sizes now
            self._rooms = ((size, [place]),)
        elif not full:
            known.append(place)

    @property
    def held(self) -> int:
        """Bytes."""
        return sum(size * len(rooms) for size, rooms in self._rooms)

    def clear(self) -> None:
        """Give all of it back."""
        self._rooms = ()

    def _of(self, size: int) -> list[tuple[int, Any]] | None:
        return next((rooms for known, rooms in self._rooms if known == size), None)


FREED = Freed()
"""Of this process."""


class _Field:
    """What a tensor's numbers lie in, which goes to :data:`FREED` with the last tensor that sees them."""

    def __init__(self, size: int, shape: tuple[int, ...], numbers: str, strides: tuple[int, ...]) -> None:
        self._size, self._freed = size, FREED
        self._place = FREED.take(size)
        self.__array_interface__ = {
            "version": 3,
            "data": (self._place[0], False),
            "shape": shape,
            "typestr": numbers,
            "strides": strides,
        }

    def __del__(self) -> None:
        self._freed.give(self._size, self._place)
