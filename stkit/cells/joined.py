"""Tensors side by side on their channels, in one type and channels last in memory, by one operation.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stkit.cells.gated import LIBRARY, kernels
from stkit.cells.modes import seen_by_modes

MOST = 3
"""Tensors that the GPU's kernel joins at once."""


def joined(parts: Sequence[Tensor], kind: torch.dtype) -> Tensor:
    """``B C_1 *grid``, ``B C_2 *grid``, ... -> ``B C_1+C_2+.. *grid`` of type ``kind``, channels last in memory.

    A tensor that is so already comes back as it is.
    """
    if len(parts) == 1 or torch.compiler.is_compiling():
        return last(parts[0] if len(parts) == 1 else torch.cat([part.to(kind) for part in parts], dim=1), kind)
    made: Tensor
    if seen_by_modes():
        made = torch.ops.stkit.joined(list(parts), kind)
    elif torch.is_grad_enabled():
        made = _Joined.apply(kind, *parts)
    else:
        made = _joined(list(parts), kind)
    return made


def last(tensor: Tensor, kind: torch.dtype) -> Tensor:
    """Of type ``kind``, and channels last in memory."""
    return tensor.to(kind, memory_format=_format(tensor))


def _format(tensor: Tensor) -> torch.memory_format:
    return torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d


LIBRARY.define("joined(Tensor[] parts, ScalarType kind) -> Tensor")


def _joined(parts: list[Tensor], kind: torch.dtype) -> Tensor:
    made = _room(parts, kind)
    if parts[0].is_cuda and kind != torch.float64 and len(parts) <= MOST:
        compiled = kernels()
        if compiled is not None:
            compiled.join(parts, made)
            return made
    torch.cat(parts, dim=1, out=made)
    return made


def _room(parts: list[Tensor], kind: torch.dtype) -> Tensor:
    first = parts[0]
    shape = (first.shape[0], sum(part.shape[1] for part in parts), *first.shape[2:])
    return torch.empty(shape, dtype=kind, device=first.device, memory_format=_format(first))


class _Joined(torch.autograd.Function):
    """The operator without its dispatch."""

    @staticmethod
    def forward(ctx: Any, kind: torch.dtype, *parts: Tensor) -> Tensor:
        _keep(ctx, (parts, kind), None)
        return _joined(list(parts), kind)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_differentiate(ctx, gradient)[0]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor | None) -> None:
    ctx.parts = [(part.shape[1], part.dtype) for part in inputs[0]]


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[list[Tensor], None]:
    cut = torch.split(gradient, [channels for channels, _ in ctx.parts], dim=1)
    return [slope.to(kind) for slope, (_, kind) in zip(cut, ctx.parts, strict=True)], None


torch.library.register_fake("stkit::joined", _room, lib=LIBRARY)
for _device in ("CPU", "CUDA", "XPU", "MPS"):
    LIBRARY.impl("joined", _joined, _device)
torch.library.register_autograd("stkit::joined", _differentiate, setup_context=_keep, lib=LIBRARY)
