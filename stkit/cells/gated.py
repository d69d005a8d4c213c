"""Gate arithmetic: what the cells' equations do once the pre-activations of the gates are known.

Each function is one operator, ``stkit::gated``: one kernel on a GPU forward and one backward, on a processor one
pass over memory in C each way, or where nothing can be compiled arithmetic in place. For the way back it keeps the
pre-activations alone and squashes them anew, so that a training holds no second copy of any gate. What
``torch.compile`` and ``torch.export`` trace is plain arithmetic, and so is what is small.
``s`` is the logistic sigmoid, ``.`` the elementwise product.

It computes in float32 at least; the result has the type that the arguments promote to, so that under autocast a memory
in float32 stays in float32. Gradients are those of first order.

Axes: all tensors of a call have the same shape, ``B C *grid``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stkit.cells import squash
from stkit.cells.compiled import gates as in_c
from stkit.cells.modes import seen_by_modes
from stkit.cells.squash import COMPLEMENT, DOUBLE, IDENTITY, NOTHING, SIGMOID, TANH, plain, promoted

Squash = Literal["sigmoid", "tanh", "double"]
"""How an output gate is squashed; ``double``: ``s(tanh(o))``."""

SMALL = 2**15
"""Elements below which a processor computes by torch's own operations: there a call of the operator costs more."""

_SQUASHES: dict[Squash, int] = {"sigmoid": SIGMOID, "tanh": TANH, "double": DOUBLE}


def increment(i: Tensor, g: Tensor) -> Tensor:
    """``s(i) . tanh(g)``: what a step adds to a memory."""
    return _gated(i, g, functions=(SIGMOID, TANH, NOTHING, NOTHING))


def added(kept: Tensor, i: Tensor, g: Tensor) -> Tensor:
    """``kept + s(i) . tanh(g)``: a memory whose past a transition has dealt with."""
    return _gated(i, g, kept, functions=(SIGMOID, TANH, IDENTITY, NOTHING))


def memory(
    f: Tensor, past: Tensor, i: Tensor, g: Tensor, *, forget_bias: float = 0.0, squashed: bool = False
) -> Tensor:
    """``s(f + forget_bias) . past + s(i) . tanh(g)``.

    Args:
        f: pre-activation of the forget gate.
        past: the memory before.
        i: pre-activation of the input gate.
        g: pre-activation of the input.
        forget_bias: added to ``f``.
        squashed: ``tanh(past)`` in place of ``past``.
    """
    return _gated(f, past, i, g, functions=(SIGMOID, TANH if squashed else IDENTITY, SIGMOID, TANH), bias=forget_bias)


def output(o: Tensor, signal: Tensor, *, more: Tensor | None = None, squash: Squash = "sigmoid") -> Tensor:
    """``s(o + more) . tanh(signal)``: what a cell shows of its memory.

    Args:
        o: pre-activation of the output gate.
        signal: the memory, or what a convolution made of it.
        more: a second part of the pre-activation, from another block.
        squash: ``tanh`` or ``double`` in place of ``s``.
    """
    if more is not None and o.device.type == "cpu":
        o, more = o + more, None  # so that one tensor is kept, not two
    return _gated(o, signal, more=more, functions=(_SQUASHES[squash], TANH, NOTHING, NOTHING))


def highway(s: Tensor, p: Tensor, past: Tensor) -> Tensor:
    """``S . tanh(p) + (1 - S) . past`` with the switch ``S = s(s)``."""
    return _gated(s, p, s, past, functions=(SIGMOID, TANH, COMPLEMENT, IDENTITY))


def _gated(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    d: Tensor | None = None,
    more: Tensor | None = None,
    *,
    functions: tuple[int, int, int, int],
    bias: float = 0.0,
) -> Tensor:
    shapes = [tuple(part.shape) for part in (a, b, c, d, more) if part is not None]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"gates and memories of one shape are expected, received {', '.join(map(str, shapes))}")
    # Compilers fuse plain arithmetic themselves, and exports need no stkit then.
    if torch.compiler.is_compiling() or (a.device.type == "cpu" and a.numel() < SMALL):
        return plain(a if more is None else a + more, b, c, d, functions, bias)
    made: Tensor
    if seen_by_modes():
        made = torch.ops.stkit.gated(a, b, c, d, more, functions, bias)
    elif torch.is_grad_enabled():
        made = _Gated.apply(a, b, c, d, more, functions, bias)
    else:
        made = _forward(a, b, c, d, more, functions, bias)
    return made


LIBRARY: Any = torch.library.Library("stkit", "FRAGMENT")  # type: ignore[no-untyped-call]
LIBRARY.define("gated(Tensor a, Tensor b, Tensor? c, Tensor? d, Tensor? more, int[] functions, float bias) -> Tensor")
LIBRARY.define(
    "gated_backward(Tensor gradient, Tensor a, Tensor b, Tensor? c, Tensor? d, Tensor? more, int[] functions, "
    "float bias) -> (Tensor, Tensor, Tensor, Tensor)"
)


def _forward(
    a: Tensor, b: Tensor, c: Tensor | None, d: Tensor | None, more: Tensor | None, functions: Sequence[int], bias: float
) -> Tensor:
    compiled = _compiled(a, b, c, d, more)
    if compiled is not None:
        made: Tensor = compiled.value(a, b, c, d, more, functions, bias)
        return made
    a = a if more is None else a + more
    if in_c.fits(a, b, c, d):
        return in_c.value(a, b, c, d, functions, bias)
    return squash.value(a, b, c, d, functions, bias)


def _backward(
    gradient: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    d: Tensor | None,
    more: Tensor | None,
    functions: Sequence[int],
    bias: float,
) -> tuple[Tensor, ...]:
    compiled = _compiled(a, b, c, d, more)
    if compiled is not None:
        found: tuple[Tensor, ...] = compiled.gradients(gradient, a, b, c, d, more, functions, bias)
        return found
    a = a if more is None else a + more
    if in_c.fits(gradient, a, b, c, d):
        return in_c.gradients(gradient, a, b, c, d, functions, bias)
    return squash.gradients(gradient, a, b, c, d, functions, bias)


def _compiled(*tensors: Tensor | None) -> ModuleType | None:
    """Triton's kernels where they can be had: on a GPU, and not for float64."""
    given = [tensor for tensor in tensors if tensor is not None]
    if not given[0].is_cuda or promoted(*given) == torch.float64:
        return None
    return kernels()


@cache
def kernels() -> ModuleType | None:
    """Triton's kernels; None where Triton is not installed."""
    try:
        return import_module("stkit.cells.gated_triton")
    except ImportError:
        return None


for _device in ("CPU", "CUDA", "XPU", "MPS"):
    LIBRARY.impl("gated", _forward, _device)
    LIBRARY.impl("gated_backward", _backward, _device)


@torch.library.register_fake("stkit::gated")  # type: ignore[untyped-decorator]
def _shape(a: Tensor, b: Tensor, c: Tensor | None, d: Tensor | None, *_: Any) -> Tensor:
    return torch.empty_like(a, dtype=promoted(a, b, c, d))


@torch.library.register_fake("stkit::gated_backward")  # type: ignore[untyped-decorator]
def _shapes(gradient: Tensor, a: Tensor, b: Tensor, c: Tensor | None, d: Tensor | None, *_: Any) -> tuple[Tensor, ...]:
    pairs = ((a, b), (c, d))
    return tuple(
        a.new_empty(0) if part is None or None in pair else torch.empty_like(part) for pair in pairs for part in pair
    )


class _Gated(torch.autograd.Function):
    """The operator without its dispatch."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _keep(ctx, inputs, None)
        return _forward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _slopes(ctx, gradient, _backward)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor | None) -> None:
    *tensors, ctx.functions, ctx.bias = inputs
    _, _, c, d, _ = tensors
    ctx.added = c.dtype if d is None and c is not None else None
    if ctx.added is not None:  # its gradient is that of the result, whatever it was
        tensors[2] = None
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return _slopes(ctx, gradient, torch.ops.stkit.gated_backward)


def _slopes(ctx: Any, gradient: Tensor, backward: Callable[..., tuple[Tensor, ...]]) -> tuple[Tensor | None, ...]:
    tensors: tuple[Any, ...] = ctx.saved_tensors
    _, _, c, d, more = tensors
    slopes = backward(gradient, *tensors, ctx.functions, ctx.bias)
    third: Tensor | None = None if c is None else slopes[2]
    if ctx.added is not None:
        third = gradient.to(ctx.added)
    return (
        slopes[0],
        slopes[1],
        third,
        None if d is None else slopes[3],
        None if more is None else slopes[0].to(more.dtype),
        None,
        None,
    )


torch.library.register_autograd("stkit::gated", _differentiate, setup_context=_keep, lib=LIBRARY)
