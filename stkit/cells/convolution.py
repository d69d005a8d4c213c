"""Convolutions that keep the size of the grid.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def same_convolution(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve so that the grid keeps its size: zeros, ``(k-1)//2`` before and ``k//2`` after on each axis.

    Args:
        x: ``B C_in *grid``.
        kernel: ``C_out C_in *k`` with one size for each axis of the grid, which may be even.
        bias: ``C_out`` or None.
    """
    sizes = kernel.shape[2:]
    convolve = F.conv2d if len(sizes) == 2 else F.conv3d
    if all(size % 2 for size in sizes):
        return convolve(x, kernel, bias, padding=tuple(size // 2 for size in sizes))
    margins = [margin for size in reversed(sizes) for margin in ((size - 1) // 2, size // 2)]
    return convolve(F.pad(x, margins), kernel, bias)


def shifts(slices: int) -> range:
    """How many slices further on each slice of a kernel ``C_out C_in K k k`` reads."""
    before = (slices - 1) // 2
    return range(-before, slices - before)
