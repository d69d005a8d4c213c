"""The arithmetic behind :mod:`stkit.cells.gated` in plain torch: sums of two products of two squashed tensors.

A call is ``F0(a) . F1(b) + F2(c) . F3(d)``; ``functions`` names ``F0`` to ``F3``. Temporaries are written over.
Axes: all tensors have the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

NOTHING, IDENTITY, SIGMOID, TANH, DOUBLE, COMPLEMENT = range(6)
"""``1`` (there is no tensor), ``x``, ``s(x)``, ``tanh(x)``, ``s(tanh(x))``, ``1 - s(x)``."""


def promoted(*tensors: Tensor | None) -> torch.dtype:
    """The type that tensors promote to."""
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors if tensor is not None))


def value(a: Tensor, b: Tensor, c: Tensor | None, d: Tensor | None, functions: Sequence[int], bias: float) -> Tensor:
    """``F0(a + bias) . F1(b) + F2(c) . F3(d)``, in the layout of ``a``; ``F0`` squashes, a ``c`` alone is as it is."""
    told = promoted(a, b, c, d)
    kind = torch.promote_types(told, torch.float32)
    total = squashed(functions[0], a, kind, bias).mul_(squashed(functions[1], b, kind))
    if c is not None:
        if d is None:
            total.add_(c)
        else:
            total.addcmul_(squashed(functions[2], c, kind), squashed(functions[3], d, kind))
    return total.to(told)


def plain(a: Tensor, b: Tensor, c: Tensor | None, d: Tensor | None, functions: Sequence[int], bias: float) -> Tensor:
    """As :func:`value`, in operations that torch can differentiate and trace."""
    told = promoted(a, b, c, d)
    kind = torch.promote_types(told, torch.float32)
    total = _plain(functions[0], a.to(kind) + bias if bias else a.to(kind)) * _plain(functions[1], b.to(kind))
    if c is not None:
        third = c.to(kind)
        total = total + (third if d is None else _plain(functions[2], third) * _plain(functions[3], d.to(kind)))
    return total.to(told)


def _plain(function: int, x: Tensor) -> Tensor:
    if function == IDENTITY:
        return x
    if function == TANH:
        return torch.tanh(x)
    squashed = torch.sigmoid(torch.tanh(x) if function == DOUBLE else x)
    return 1 - squashed if function == COMPLEMENT else squashed


def gradients(
    gradient: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    d: Tensor | None,
    functions: Sequence[int],
    bias: float,
) -> tuple[Tensor, ...]:
    """Slopes for ``a`` to ``d``; empty where there is no tensor, and for a ``c`` alone: that is ``gradient`` itself."""
    kind = torch.promote_types(promoted(gradient, a, b, c, d), torch.float32)
    gradient = gradient.to(kind)
    found: list[Tensor] = []
    for first, second, of_first, of_second, shift in (
        (a, b, functions[0], functions[1], bias),
        (c, d, functions[2], functions[3], 0.0),
    ):
        if first is None or second is None:
            found += [a.new_empty(0), a.new_empty(0)]
            continue
        one, other = squashed(of_first, first, kind, shift), squashed(of_second, second, kind)
        found += [
            slope(of_first, gradient * other, one, first, shift).to(first.dtype),
            slope(of_second, gradient * one, other, second).to(second.dtype),
        ]
    return tuple(found)


def squashed(function: int, x: Tensor, kind: torch.dtype, bias: float = 0.0) -> Tensor:
    """``F(x + bias)`` as ``kind``. Fresh memory, but for the identity, in the order of ``x`` in memory."""
    x = x.to(kind)
    if function == IDENTITY:
        return x
    made = torch.empty_like(x)
    if bias:
        x = torch.add(x, bias, out=made)
    if function == TANH:
        return torch.tanh(x, out=made)
    if function == DOUBLE:
        return torch.tanh(x, out=made).sigmoid_()
    torch.sigmoid(x, out=made)
    return made.neg_().add_(1) if function == COMPLEMENT else made


def slope(function: int, gradient: Tensor, made: Tensor, x: Tensor, bias: float = 0.0) -> Tensor:
    """``gradient . F'(x + bias)`` where ``made = F(x + bias)``, written over ``gradient``."""
    if function == IDENTITY:
        return gradient
    if function == TANH:
        torch.ops.aten.tanh_backward.grad_input(gradient, made, grad_input=gradient)
        return gradient
    torch.ops.aten.sigmoid_backward.grad_input(gradient, made, grad_input=gradient)
    if function == COMPLEMENT:
        return gradient.neg_()
    if function == DOUBLE:
        inner = squashed(TANH, x, gradient.dtype, bias)
        torch.ops.aten.tanh_backward.grad_input(gradient, inner, grad_input=gradient)
    return gradient
