"""Fields as oneDNN convolves them: slice by slice, in float32, with channels last in memory.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``. Planes are the slices of a field one behind the
other in the batch, ``B*D C H W``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stkit.cells.compiled.fields import empty_field


def slices_of(kernel: Tensor) -> list[Tensor]:
    """``C_out C_in k k``: a kernel, or the slices of one with a depth."""
    return [kernel] if kernel.ndim == 4 else list(kernel.unbind(2))


def counts(shape: Sequence[int]) -> tuple[int, int]:
    """Samples and slices of a field."""
    return shape[0], shape[2] if len(shape) == 5 else 1


def planes(field: Tensor) -> Tensor:
    """Those of a field with channels last in memory, without a copy."""
    return field if field.ndim == 4 else field.movedim(2, 1).flatten(0, 1)


def with_channels_last(field: Tensor) -> Tensor:
    """In that order in memory, a copy if need be."""
    layout = torch.channels_last if field.ndim == 4 else torch.channels_last_3d
    return field.contiguous(memory_format=layout)


def zeros(shape: Sequence[int]) -> Tensor:
    """A field of zeros with channels last in memory."""
    return empty_field(shape, torch.float32, channels_last=True).zero_()


def one_behind_the_other(steps: Sequence[Tensor], runs: Sequence[slice]) -> Tensor:
    """These runs of the planes of each step."""
    parts = [given[run] for given in steps for run in runs]
    if len(parts) == 1:
        return parts[0]
    room = empty_field((sum(map(len, parts)), *parts[0].shape[1:]), torch.float32, channels_last=True)
    return torch.cat(parts, out=room)
