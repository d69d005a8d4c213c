"""Fields cut into tiles whose convolution is a product of numbers: Winograd's minimal filtering.

A field is cut into tiles of ``a x a`` cells, ``a = m + r - 1``, that overlap by ``r - 1``. A linear map of the tiles
and one of the kernel turn the convolution with an ``r x r`` kernel into a product place by place, and a third map
brings back the ``m x m`` cells that a tile is for (Winograd 1980; for networks Lavin and Gray, CVPR 2016). Over
channels that is ``a * a`` products of matrices, with ``(m r / a)**2`` times fewer multiplications than the convolution.

The maps are those of Toom and Cook. How much the rounding grows depends on the points, and on the size of the tile.

Axes: ``B`` batch, ``H`` height, ``W`` width, ``C`` channels, ``A`` the ``a * a`` places in a tile, ``N`` tiles.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

Matrix = NDArray[np.float64]

POINTS = {
    4: (0, 1, -1),
    6: (0, Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)),
    8: (0, Fraction(1, 2), Fraction(-1, 2), 2, -2, 1, -1),
}
"""Points at which polynomials are evaluated, by the side of the tile; infinity is added.

Of the small rationals that were tried on random fields, these have the smallest rounding.
"""


class Tiles:
    """The three maps for outputs of ``m x m`` cells and kernels of ``r x r``.

    Args:
        m: side of a tile's output.
        r: side of the kernel, odd.

    Raises:
        ValueError: there are no :data:`POINTS` for tiles of that size.
    """

    def __init__(self, m: int, r: int) -> None:
        if m + r - 1 not in POINTS:
            raise ValueError(f"{m} cells and kernels of {r} make tiles of {m + r - 1}; there are maps for {[*POINTS]}")
        self.m, self.r, self.a = m, r, m + r - 1
        back, kernel, forth = _maps(m, r)
        self._maps = {
            "forth": torch.from_numpy(np.kron(forth, forth)),
            "kernel": torch.from_numpy(np.kron(kernel, kernel)),
            "back": torch.from_numpy(np.kron(back, back)),
        }
        self._cast: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def map(self, name: str, like: Tensor) -> Tensor:
        """``forth`` (``A A``), ``kernel`` (``A r*r``) or ``back`` (``m*m A``), as ``like`` in type and device."""
        key = (name, like.dtype, like.device)
        if key not in self._cast:
            self._cast[key] = self._maps[name].to(like)
        return self._cast[key]

    def count(self, height: int, width: int) -> tuple[int, int]:
        """Tiles down and across a field; the last ones may hang over."""
        return -(-height // self.m), -(-width // self.m)

    def forth(self, field: Tensor) -> Tensor:
        """``B C H W -> A N C``: the tiles of a field, transformed."""
        made: Tensor = _Forth.apply(field, self)
        return made

    def kernel(self, kernel: Tensor) -> Tensor:
        """``C_out C_in r r -> A C_in C_out``, computed in double precision: it is done once a sequence."""
        out, into = kernel.shape[:2]
        flat = kernel.double().permute(2, 3, 1, 0).reshape(self.r**2, into * out)
        return (self.map("kernel", flat) @ flat).view(self.a**2, into, out).to(kernel.dtype)

    def kernel_gradient(self, gradient: Tensor) -> Tensor:
        """The adjoint of :meth:`kernel`: ``A C_in C_out -> C_out C_in r r``."""
        places, into, out = gradient.shape
        flat = self.map("kernel", gradient).t() @ gradient.reshape(places, into * out)
        return flat.view(self.r, self.r, into, out).permute(3, 2, 0, 1)

    def back(self, products: Tensor, batch: int, height: int, width: int) -> Tensor:
        """``A N C -> B C H W``, channels last in memory."""
        m, channels = self.m, products.shape[-1]
        down, across = self.count(height, width)
        cells = self.map("back", products) @ products.reshape(self.a**2, -1)
        cells = cells.view(m, m, batch, down, across, channels).permute(2, 3, 0, 4, 1, 5)
        field = cells.reshape(batch, down * m, across * m, channels)
        return field[:, :height, :width].permute(0, 3, 1, 2)

    def gather(self, field: Tensor) -> Tensor:
        """``B C H W -> A (N C)``: the tiles of a field with zeros around it."""
        height, width = field.shape[2:]
        padded = self._padded(field.shape, field)
        self._inner(padded, height, width).copy_(field.permute(0, 2, 3, 1))
        return self._places(padded, (0, 0), (self.a, self.a)).reshape(self.a**2, -1)

    def scatter(self, tiles: Tensor, shape: torch.Size) -> Tensor:
        """The adjoint of :meth:`gather`: what overlaps is added up."""
        batch, channels, height, width = shape
        places = tiles.view(self.a, self.a, batch, *self.count(height, width), channels)
        padded = self._padded(shape, tiles)
        for row in range(0, self.a, self.m):
            for column in range(0, self.a, self.m):
                some = places[row : row + self.m, column : column + self.m]
                self._places(padded, (row, column), (some.shape[0], some.shape[1])).add_(some)
        return self._inner(padded, height, width).permute(0, 3, 1, 2)

    def _padded(self, shape: torch.Size, like: Tensor) -> Tensor:
        """``B H W C``, zeros: a field's cells with what the tiles reach beyond them."""
        batch, channels, height, width = shape
        down, across = self.count(height, width)
        return like.new_zeros(batch, down * self.m + self.r - 1, across * self.m + self.r - 1, channels)

    def _inner(self, padded: Tensor, height: int, width: int) -> Tensor:
        """The field's own cells."""
        margin = self.r // 2
        return padded[:, margin : margin + height, margin : margin + width]

    def _places(self, padded: Tensor, first: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """A view of some places of every tile: ``rows columns B N_h N_w C``."""
        batch, height, width, channels = padded.shape
        down, across = (height - self.r + 1) // self.m, (width - self.r + 1) // self.m
        whole, line, cell, _ = padded.stride()
        strides = (line, cell, whole, self.m * line, self.m * cell, 1)
        start = first[0] * line + first[1] * cell
        return padded.as_strided((*size, batch, down, across, channels), strides, start)


@cache
def tiles(m: int, r: int) -> Tiles:
    """One :class:`Tiles` for each size."""
    return Tiles(m, r)


class _Forth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, field: Tensor, own: Tiles) -> Tensor:
        ctx.tiles, ctx.shape = own, field.shape
        gathered = own.gather(field)
        return (own.map("forth", gathered) @ gathered).view(own.a**2, -1, field.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own: Tiles = ctx.tiles
        flat = own.map("forth", gradient).t() @ gradient.reshape(own.a**2, -1)
        return own.scatter(flat, ctx.shape), None


def _maps(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """``A^T`` (``m a``), ``G`` (``a r``) and ``B^T`` (``a a``): ``conv = A^T ((G g) . (B^T d))`` in one dimension.

    With ``V_n`` the ``a x n`` matrix of the first ``n`` powers of the points, the product of polynomials of ``n`` and
    ``r`` coefficients is ``V_a^-1 ((V_m x) . (V_r g))``; the convolution is its transpose.
    """
    points = POINTS[m + r - 1]

    def powers(count: int) -> Matrix:
        rows = [[float(point**power) for power in range(count)] for point in points]
        return np.array([*rows, [0.0] * (count - 1) + [1.0]])

    return np.ascontiguousarray(powers(m).T), powers(r), np.ascontiguousarray(np.linalg.inv(powers(m + r - 1)).T)
