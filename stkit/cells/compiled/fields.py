"""Memory for the fields of a step.

torch asks the C library for memory at a multiple of 64 bytes. glibc finds it in a larger block and gives back what is
over before and behind it, where small objects settle. When the field is freed its hole is thus too small for the next
field of that size, and between fields that a training keeps most holes stay empty: a third of its memory. Memory that
is not asked for at a multiple comes back into a hole of its size; the field begins in it where it is to begin.

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
_TYPES = {torch.float32: np.float32, torch.float64: np.float64}


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
    room = np.empty(size + BEGIN, np.uint8)
    first = -room.__array_interface__["data"][0] % BEGIN
    return torch.from_numpy(np.ndarray(shape, numbers, room, first, strides))


@cache
def _layout(shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool) -> tuple[int, Any, tuple[int, ...]]:
    """Bytes, NumPy's type, and the bytes from one index to the next."""
    order = [0, *range(2, len(shape)), 1] if channels_last else [*range(len(shape))]
    strides, step = [0] * len(shape), dtype.itemsize
    for axis in reversed(order):
        strides[axis], step = step, step * shape[axis]
    return step, _TYPES[dtype], tuple(strides)


def empty_field_like(field: Tensor) -> Tensor:
    """As :func:`empty_field`, for a field that is contiguous or channels last in memory, in that layout."""
    return empty_field(field.shape, field.dtype, channels_last=not field.is_contiguous())
