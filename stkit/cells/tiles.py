"""Fields cut into tiles whose convolution is a product of numbers: Winograd's minimal filtering.

A field is cut into tiles of ``a x a`` cells, ``a = m + r - 1``, that overlap by ``r - 1``. A linear map of the tiles
and one of the kernel turn the convolution with an ``r x r`` kernel into a product place by place, and a third map
brings back the ``m x m`` cells that a tile is for (Winograd 1980; for networks Lavin and Gray, CVPR 2016). Over
channels that is ``a * a`` products of matrices, with ``(m r / a)**2`` times fewer multiplications than the convolution.

The maps are those of Toom and Cook. How much the rounding grows depends on the points, and on the size of the tile. A
map is applied to the rows of a tile and then to its columns: that makes short sums, which round less than long ones.

A field with a depth, ``B C D H W``, is cut slice by slice.

Axes: ``B`` batch, ``H`` height, ``W`` width, ``C`` channels, ``A`` the ``a * a`` places in a tile, ``N`` tiles of all
fields of a batch, those of all first slices first, ``P`` slices.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

Matrix = NDArray[np.float64]
Shape = Sequence[int]

SIDES = (3, 5)
"""Kernels that the engines take."""
OUTPUT = 4
"""Side of a tile's output with them, in cells."""
EXACT = 2.0**20
"""What the numbers of a map are rounded to a fraction of, where they are known to be one."""
COLUMNS = 4096
"""Pairs of channels of a kernel that are transformed together."""
SCRATCH = 2**25
"""Bytes of an intermediate result up to which its memory is used again for the next one.

Allocated anew every time, such results leave holes in the memory of a process that grow with its length.
"""

POINTS = {
    4: (0, 1, -1),
    6: (0, Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)),
    8: (0, Fraction(1, 2), Fraction(-1, 2), 1, -1, 2, -2),
}
"""Points at which polynomials are evaluated, by the side of the tile; infinity is added.

Of the small rationals that were tried on random fields, these have the smallest rounding; so has this order, in which
sums over the points begin with small terms.
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
        back, kernel, forth = maps(m, r)
        self._maps = {name: torch.from_numpy(of) for name, of in (("forth", forth), ("kernel", kernel), ("back", back))}
        self._cast: dict[tuple[str, bool, torch.dtype, torch.device], Tensor] = {}
        self._own = threading.local()

    def map(self, name: str, values: Tensor, into: str | None = None, *, adjoint: bool = False) -> Tensor:
        """A map of all tiles, from its places before, the leading axis of ``values``, to those after.

        Args:
            name: ``forth`` (``a*a`` to ``a*a``), ``kernel`` (``r*r`` to ``a*a``) or ``back`` (``a*a`` to ``m*m``).
            values: ``places ...``.
            into: name of a :meth:`scratch` for the result; None: it is to stay.
            adjoint: the other way round.
        """
        matrix = self._matrix(name, values, adjoint=adjoint)
        after, before = matrix.shape
        count = values.numel() // before**2
        shape = (after**2, *values.shape[1:])
        made = values.new_empty(shape) if into is None else self.scratch(into, shape, values)
        half = self.scratch("half", (after, before * count), values)
        torch.mm(matrix, values.reshape(before, before * count), out=half)
        each = matrix.expand(after, after, before)
        torch.bmm(each, half.view(after, before, count), out=made.view(after, after, count))
        return made

    def _matrix(self, name: str, like: Tensor, *, adjoint: bool) -> Tensor:
        """Of one dimension, as ``like`` in type and device."""
        key = (name, adjoint, like.dtype, like.device)
        if key not in self._cast:
            matrix = self._maps[name]
            self._cast[key] = (matrix.t().contiguous() if adjoint else matrix).to(like)
        return self._cast[key]

    def scratch(self, name: str, shape: Shape, like: Tensor) -> Tensor:
        """Memory for an intermediate result, which stays as it is until this thread asks for that name again."""
        numbers = math.prod(shape)
        if numbers * like.element_size() > SCRATCH or like.device.type != "cpu":
            return like.new_empty(shape)
        key = (name, like.dtype, torch.is_inference_mode_enabled())
        known: dict[Any, Tensor] = self._own.__dict__
        if key not in known or known[key].numel() < numbers:
            known[key] = like.new_empty(numbers)
        return known[key][:numbers].view(shape)

    def count(self, height: int, width: int) -> tuple[int, int]:
        """Tiles down and across a field; the last ones may hang over."""
        return -(-height // self.m), -(-width // self.m)

    def forth(self, field: Tensor) -> Tensor:
        """``B C *grid -> A N C``: the tiles of a field, transformed."""
        made: Tensor = _Forth.apply(field, self)
        return made

    def transformed(self, fields: Sequence[Tensor], into: str | None = None) -> Tensor:
        """As :meth:`forth`, of several fields whose batches follow each other, and without a graph.

        Args:
            fields: ``B C *grid``.
            into: name of a :meth:`scratch` for the result; None: it is to stay.
        """
        return self.map("forth", self.gather(fields), into).view(self.a**2, -1, fields[0].shape[1])

    def kernel(self, kernel: Tensor) -> Tensor:
        """``C_out C_in r r -> A C_in C_out``, computed in double precision: it is done once a sequence."""
        out, into = kernel.shape[:2]
        flat = kernel.permute(2, 3, 1, 0).reshape(self.r**2, into * out)
        made = flat.new_empty(self.a**2, into * out)
        for first in range(0, into * out, COLUMNS):  # in parts that stay close to the processor
            part = flat[:, first : first + COLUMNS].double()
            made[:, first : first + COLUMNS] = self.map("kernel", part, "kernel")
        return made.view(self.a**2, into, out)

    def kernel_gradient(self, gradient: Tensor) -> Tensor:
        """The adjoint of :meth:`kernel`: ``A C_in C_out -> C_out C_in r r``."""
        places, into, out = gradient.shape
        flat = self.map("kernel", gradient.reshape(places, into * out), adjoint=True)
        return flat.view(self.r, self.r, into, out).permute(3, 2, 0, 1)

    def back(self, products: Tensor, shape: Shape, widths: Sequence[int], offset: Tensor | None = None) -> list[Tensor]:
        """``A N C`` to fields ``B C_k *grid`` that share the channels, each dense and channels last in memory.

        Args:
            products: the tiles of all fields, transformed.
            shape: of one of the fields; its channels do not count.
            widths: channels of each field.
            offset: ``C``, added to the fields.
        """
        cells = self.map("back", products, "cells").view(*self._cells(shape), -1)
        if offset is not None:
            cells += offset
        fields = []
        for part in torch.split(cells, list(widths), dim=-1):
            field = part.new_empty(self._covered(shape, part.shape[-1]))
            self._by_tile(field).copy_(part.permute(3, 2, 4, 0, 5, 1, 6))
            field = field[:, :, : shape[-2], : shape[-1]].contiguous().movedim(-1, 1)
            fields.append(field if len(shape) == 5 else field[:, :, 0])
        return fields

    def cut(self, fields: Sequence[Tensor | None], shape: Shape, widths: Sequence[int], like: Tensor) -> Tensor:
        """The adjoint of the second half of :meth:`back`: fields to ``m*m N C``; None stands for zeros."""
        size = self._cells(shape)
        whole = shape[-2] == size[4] * self.m and shape[-1] == size[5] * self.m and None not in fields
        cells = (like.new_empty if whole else like.new_zeros)(*size, sum(widths))
        for field, part in zip(fields, torch.split(cells, list(widths), dim=-1), strict=True):
            if field is not None:
                planes = (field if field.ndim == 5 else field[:, :, None]).movedim(1, -1)  # B P H W C
                if whole:
                    target = part.permute(3, 2, 4, 0, 5, 1, 6)
                    target.copy_(self._by_tile(planes))
                else:
                    covered = like.new_zeros(self._covered(shape, part.shape[-1]))
                    covered[:, :, : shape[-2], : shape[-1]] = planes
                    part.copy_(self._by_tile(covered).permute(3, 5, 1, 0, 2, 4, 6))
        return cells.view(self.m**2, -1, sum(widths))

    def uncut(self, cells: Tensor) -> Tensor:
        """The adjoint of the first half of :meth:`back`: ``m*m N C -> A N C``, in a :meth:`scratch`."""
        return self.map("back", cells, "uncut", adjoint=True)

    def gather(self, fields: Sequence[Tensor]) -> Tensor:
        """``B C *grid -> A (N C)``: the tiles of fields with zeros around them, in a :meth:`scratch`."""
        every = [field if field.ndim == 5 else field[:, :, None] for field in fields]
        batches = [field.shape[0] for field in every]
        _, _, planes, height, width = every[0].shape
        padded = self._padded(planes, sum(batches), every[0].shape, every[0])
        inner = torch.split(self._inner(padded, height, width), batches, dim=1)
        for field, part in zip(every, inner, strict=True):
            part.copy_(field.permute(2, 0, 3, 4, 1))
        places = self._places(padded.flatten(0, 1), (0, 0), (self.a, self.a))
        return self.scratch("gathered", places.shape, places).copy_(places).view(self.a**2, -1)

    def scatter(self, tiles: Tensor, shape: Shape) -> Tensor:
        """The adjoint of :meth:`gather` for one field: what overlaps is added up."""
        batch, channels, height, width = shape[0], shape[1], shape[-2], shape[-1]
        planes = shape[2] if len(shape) == 5 else 1
        places = tiles.view(self.a, self.a, planes * batch, *self.count(height, width), channels)
        padded = self._padded(planes, batch, shape, tiles)
        flat = padded.flatten(0, 1)
        for row in range(0, self.a, self.m):
            for column in range(0, self.a, self.m):
                some = places[row : row + self.m, column : column + self.m]
                self._places(flat, (row, column), (some.shape[0], some.shape[1])).add_(some)
        field = self._inner(padded, height, width).permute(1, 4, 0, 2, 3)
        return field if len(shape) == 5 else field[:, :, 0]

    def _padded(self, planes: int, batch: int, shape: Shape, like: Tensor) -> Tensor:
        """``P B H W C``, zeros: a field's cells with what the tiles reach beyond them."""
        down, across = self.count(shape[-2], shape[-1])
        size = (planes, batch, down * self.m + self.r - 1, across * self.m + self.r - 1, shape[1])
        return like.new_zeros(size)

    def _inner(self, padded: Tensor, height: int, width: int) -> Tensor:
        """The field's own cells."""
        margin = self.r // 2
        return padded[..., margin : margin + height, margin : margin + width, :]

    def _places(self, padded: Tensor, first: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """A view of some places of every tile: ``rows columns B N_h N_w C``."""
        batch, height, width, channels = padded.shape
        down, across = (height - self.r + 1) // self.m, (width - self.r + 1) // self.m
        whole, line, cell, _ = padded.stride()
        strides = (line, cell, whole, self.m * line, self.m * cell, 1)
        start = first[0] * line + first[1] * cell
        return padded.as_strided((*size, batch, down, across, channels), strides, start)

    def _cells(self, shape: Shape) -> tuple[int, ...]:
        """``m m P B N_h N_w`` of a field ``B C *grid``."""
        return (self.m, self.m, shape[2] if len(shape) == 5 else 1, shape[0], *self.count(shape[-2], shape[-1]))

    def _by_tile(self, planes: Tensor) -> Tensor:
        """A view of ``B P H W C`` as ``B P N_h m N_w m C``."""
        made: Tensor = planes.unflatten(3, (-1, self.m)).unflatten(2, (-1, self.m))  # type: ignore[no-untyped-call]
        return made

    def _covered(self, shape: Shape, channels: int) -> tuple[int, ...]:
        """``B P H W C`` with all the cells that the tiles cover."""
        _, _, planes, batch, down, across = self._cells(shape)
        return batch, planes, down * self.m, across * self.m, channels


@cache
def tiles(m: int, r: int) -> Tiles:
    """One :class:`Tiles` for each size."""
    return Tiles(m, r)


class _Forth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, field: Tensor, own: Tiles) -> Tensor:
        ctx.tiles, ctx.shape = own, field.shape
        return own.transformed([field])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own: Tiles = ctx.tiles
        return own.scatter(own.map("forth", gradient, "flat", adjoint=True), ctx.shape), None


def maps(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """``A^T`` (``m a``), ``G`` (``a r``) and ``B^T`` (``a a``): ``conv = A^T ((G g) . (B^T d))`` in one dimension.

    With ``V_n`` the ``a x n`` matrix of the first ``n`` powers of the points, the product of polynomials of ``n`` and
    ``r`` coefficients is ``V_a^-1 ((V_m x) . (V_r g))``; the convolution is its transpose.
    """
    points = [Fraction(point) for point in POINTS[m + r - 1]]

    def powers(count: int) -> Matrix:
        rows = [[float(point**power) for power in range(count)] for point in points]
        return np.array([*rows, [0.0] * (count - 1) + [1.0]])

    forth, kernel = np.linalg.inv(powers(m + r - 1)).T, powers(r)
    if all(point.denominator & (point.denominator - 1) == 0 for point in points):
        # Without these factors the numbers of B^T are sums of powers of two, which float32 holds exactly; G is applied
        # in double precision.
        factors = [math.prod(point - other for other in points if other != point) for point in points]
        scale = np.array([float(factor) for factor in factors] + [1.0])[:, None]
        forth = np.round(forth * scale * EXACT) / EXACT
        size = 2 ** np.round(np.log2(np.abs(forth).sum(axis=1)))[:, None]
        forth, kernel = forth / size, kernel * size / scale
    return np.ascontiguousarray(powers(m).T), kernel, np.ascontiguousarray(forth)
