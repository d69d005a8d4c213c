"""The arithmetic of :mod:`stkit.cells.gated` and :mod:`stkit.cells.joined` on a GPU, in Triton.

Imported only where a tensor is on a GPU. A tensor is read as rows of neighbours in memory: a grid cell's channels where
channels come last, a sample's channels and cells where they come first. Gates are slices of a convolution's channels
and are read where they lie; what lies otherwise is copied before. Everything is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from stkit.cells.squash import promoted

BLOCK = 1024
"""Elements of a program."""


def value(
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    d: Tensor | None,
    more: Tensor | None,
    functions: Sequence[int],
    bias: float,
) -> Tensor:
    """See :func:`stkit.cells.squash.value`; ``more`` is added to ``a``."""
    last = _channels_last(a)
    made = _room(a, promoted(a, b, c, d), last)
    arguments = _rows((a, b, c, d, more, made), last)
    grid, sizes = _grid(a, last)
    flags = c is not None, d is not None, more is not None
    _forward[grid](*arguments, *sizes, bias, *functions, *flags, BLOCK=BLOCK)
    return made


def gradients(
    gradient: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    d: Tensor | None,
    more: Tensor | None,
    functions: Sequence[int],
    bias: float,
) -> tuple[Tensor, ...]:
    """See :func:`stkit.cells.squash.gradients`."""
    last = _channels_last(a)
    first, second = _room(a, a.dtype, last), _room(b, b.dtype, last)
    third = fourth = a.new_empty(0)
    if c is not None and d is not None:
        third, fourth = _room(c, c.dtype, last), _room(d, d.dtype, last)
    arguments = _rows((gradient, a, b, c, d, more, first, second), last)
    arguments += _rows((third, fourth), last) if third.numel() else [first, 0, first, 0]
    grid, sizes = _grid(a, last)
    _backward[grid](*arguments, *sizes, bias, *functions, third.numel() > 0, more is not None, BLOCK=BLOCK)
    return first, second, third, fourth


def join(parts: Sequence[Tensor], made: Tensor) -> None:
    """Write up to three tensors side by side on the channels of ``made``, which has its channels last in memory."""
    grid, (count, channels) = _grid(made, last=True)
    rows = _rows(parts, last=True)
    widths = [part.shape[1] for part in parts]
    rows += rows[:2] * (3 - len(parts))
    _join[grid](*rows, made, widths[0], widths[0] + widths[1], count, channels, THREE=len(parts) > 2, BLOCK=BLOCK)


def _channels_last(x: Tensor) -> bool:
    return x.stride(1) == 1 and x.shape[1] > 1


def _room(like: Tensor, kind: torch.dtype, last: bool) -> Tensor:
    return torch.empty(like.shape, dtype=kind, device=like.device, memory_format=_format(like, last))


def _format(x: Tensor, last: bool) -> torch.memory_format:
    if not last:
        return torch.contiguous_format
    return torch.channels_last if x.ndim == 4 else torch.channels_last_3d


def _grid(x: Tensor, last: bool) -> tuple[tuple[int], tuple[int, int]]:
    """The grid of programs; elements, and how many are in a row."""
    count = x.numel()
    return (triton.cdiv(count, BLOCK),), (count, x.shape[1] if last else count // x.shape[0])


def _rows(tensors: Sequence[Tensor | None], last: bool) -> list[Any]:
    """Each tensor, and the distance of its rows; the first one stands in for those that are not there."""
    arguments: list[Any] = []
    for tensor in tensors:
        if tensor is None:
            arguments += arguments[:2]
            continue
        row = _distance(tensor, last)
        if row is None:
            tensor = tensor.contiguous(memory_format=_format(tensor, last))
            row = tensor.shape[1] if last else math.prod(tensor.shape[1:])
        arguments += (tensor, row)
    return arguments


def _distance(x: Tensor, last: bool) -> int | None:
    """Elements from one row to the next; None where the tensor does not lie in such rows."""
    shape, strides = x.shape, x.stride()
    inner = (1,) if last else range(x.ndim - 1, 0, -1)
    outer = (*range(x.ndim - 1, 1, -1), 0) if last else (0,)
    expected = 1
    for axis in inner:
        if strides[axis] != expected and shape[axis] > 1:
            return None
        expected *= shape[axis]
    row = next((strides[axis] for axis in outer if shape[axis] > 1), expected)
    expected = row
    for axis in outer:
        if strides[axis] != expected and shape[axis] > 1:
            return None
        expected *= shape[axis]
    return row


@triton.jit  # type: ignore[untyped-decorator]
def _squashed(x, FUNCTION: tl.constexpr):  # type: ignore[no-untyped-def]
    if FUNCTION == 1:
        return x
    if FUNCTION == 2:
        return 1.0 / (1.0 + tl.exp(-x))
    if FUNCTION == 3:
        return _tanh(x)
    if FUNCTION == 4:
        return 1.0 / (1.0 + tl.exp(-_tanh(x)))
    return 1.0 / (1.0 + tl.exp(x))


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    # Near zero the quotient below loses digits; there a minimax polynomial stands (Cephes, tanhf).
    square = x * x
    series = -5.70498872745e-3 * square + 2.06390887954e-2
    series = series * square - 5.37397155531e-2
    series = series * square + 1.33314422036e-1
    series = series * square - 3.33332819422e-1
    near = series * square * x + x
    small = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - small) / (1.0 + small)
    return tl.where(tl.abs(x) < 0.625, near, tl.where(x < 0, -far, far))


@triton.jit  # type: ignore[untyped-decorator]
def _slope(x, made, FUNCTION: tl.constexpr):  # type: ignore[no-untyped-def]
    """``F'(x)``, where ``made = F(x)``."""
    if FUNCTION == 1:
        return x * 0.0 + 1.0
    if FUNCTION == 2:
        return made * (1.0 - made)
    if FUNCTION == 3:
        return 1.0 - made * made
    if FUNCTION == 4:
        inner = _tanh(x)
        return made * (1.0 - made) * (1.0 - inner * inner)
    return -made * (1.0 - made)


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    a, row_a, b, row_b, c, row_c, d, row_d, more, row_more, made, row_made, count, columns, bias,
    F0: tl.constexpr, F1: tl.constexpr, F2: tl.constexpr, F3: tl.constexpr,
    WITH_C: tl.constexpr, WITH_D: tl.constexpr, WITH_MORE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, column, inside = n // columns, n % columns, n < count
    x = tl.load(a + row * row_a + column, mask=inside, other=0.0).to(tl.float32) + bias
    if WITH_MORE:
        x += tl.load(more + row * row_more + column, mask=inside, other=0.0).to(tl.float32)
    total = _squashed(x, F0)
    total *= _squashed(tl.load(b + row * row_b + column, mask=inside, other=0.0).to(tl.float32), F1)
    if WITH_C:
        third = tl.load(c + row * row_c + column, mask=inside, other=0.0).to(tl.float32)
        if WITH_D:
            fourth = tl.load(d + row * row_d + column, mask=inside, other=0.0).to(tl.float32)
            third = _squashed(third, F2) * _squashed(fourth, F3)
        total += third
    tl.store(made + row * row_made + column, total.to(made.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    g, row_g, a, row_a, b, row_b, c, row_c, d, row_d, more, row_more,
    da, row_da, db, row_db, dc, row_dc, dd, row_dd, count, columns, bias,
    F0: tl.constexpr, F1: tl.constexpr, F2: tl.constexpr, F3: tl.constexpr,
    TWO: tl.constexpr, WITH_MORE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, column, inside = n // columns, n % columns, n < count
    gradient = tl.load(g + row * row_g + column, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(a + row * row_a + column, mask=inside, other=0.0).to(tl.float32) + bias
    if WITH_MORE:
        x += tl.load(more + row * row_more + column, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(b + row * row_b + column, mask=inside, other=0.0).to(tl.float32)
    one, other = _squashed(x, F0), _squashed(y, F1)
    first, second = gradient * other * _slope(x, one, F0), gradient * one * _slope(y, other, F1)
    tl.store(da + row * row_da + column, first.to(da.dtype.element_ty), mask=inside)
    tl.store(db + row * row_db + column, second.to(db.dtype.element_ty), mask=inside)
    if TWO:
        x = tl.load(c + row * row_c + column, mask=inside, other=0.0).to(tl.float32)
        y = tl.load(d + row * row_d + column, mask=inside, other=0.0).to(tl.float32)
        one, other = _squashed(x, F2), _squashed(y, F3)
        first, second = gradient * other * _slope(x, one, F2), gradient * one * _slope(y, other, F3)
        tl.store(dc + row * row_dc + column, first.to(dc.dtype.element_ty), mask=inside)
        tl.store(dd + row * row_dd + column, second.to(dd.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _join(  # type: ignore[no-untyped-def]
    a, row_a, b, row_b, c, row_c, made, end_a, end_b, count, columns, THREE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, column, inside = n // columns, n % columns, n < count
    value = tl.load(a + row * row_a + column, mask=inside & (column < end_a), other=0.0).to(tl.float32)
    in_b = (column >= end_a) & (column < end_b)
    other = tl.load(b + row * row_b + column - end_a, mask=inside & in_b, other=0.0).to(tl.float32)
    value = tl.where(in_b, other, value)
    if THREE:
        third = tl.load(c + row * row_c + column - end_b, mask=inside & (column >= end_b), other=0.0).to(tl.float32)
        value = tl.where(column >= end_b, third, value)
    tl.store(made + n, value.to(made.dtype.element_ty), mask=inside)
