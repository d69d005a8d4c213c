"""Convolutions by oneDNN with a kernel that is in its order already.

Given a kernel as it is, oneDNN brings it into an order of its own in every call. In a forecast it is the same kernel in
every step. The numbers are those that torch's own call gives, to the bit.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stkit.cells.compiled.kernels import in_memory
from stkit.cells.modes import seen_by_modes

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock

Inputs = Mapping[str, tuple[Tensor, ...]]


def undisturbed() -> bool:
    """Whether operators do here what they are called for: none is traced, counted, faked, cast or transformed."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch.is_autocast_enabled("cpu")
        or seen_by_modes()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


def by_onednn(field: Tensor, kernel: Tensor) -> bool:
    """Whether torch itself would convolve ``B C_in H W`` with ``C_out C_in k k`` by oneDNN, in float32."""
    sizes = kernel.shape[2:]
    if not (in_memory(field) and in_memory(kernel)) or not field.dtype == kernel.dtype == torch.float32:
        return False
    if len(sizes) != 2 or not all(size % 2 for size in sizes) or kernel[0, 0].numel() == 1 or not field.numel():
        return False
    own: Any = torch._C
    chosen = own._select_conv_backend(field, kernel, None, [1, 1], margins(kernel), [1, 1], False, [0, 0], 1)
    return bool(chosen == own._ConvBackend.Mkldnn)


@cache
def packs() -> bool:
    """Whether this torch has oneDNN, and convolutions with kernels in its order, which are no public part of torch."""
    private = hasattr(torch._C, "_select_conv_backend") and hasattr(torch._C, "_ConvBackend")
    return private and torch._C._has_mkldnn and hasattr(torch.ops.mkldnn_prepacked, "conv2d_prepack")


def margins(kernel: Tensor) -> list[int]:
    """Zeros on each side of the axes of the grid, so that it keeps its size."""
    return [size // 2 for size in kernel.shape[2:]]


class Packed:
    """A kernel in oneDNN's order, which has no gradient.

    Args:
        kernel: ``C_out C_in k k``.
        bias: ``C_out`` or None.
        field: ``B C_in H W``: what it will convolve is as large.
    """

    def __init__(self, kernel: Tensor, bias: Tensor | None, field: Tensor) -> None:
        self._own: Any = torch.ops.mkldnn_prepacked.conv2d_prepack(
            kernel.contiguous(), bias, [1, 1], margins(kernel), [1, 1], 1, list(field.shape), "none"
        )

    def __call__(self, field: Tensor) -> Tensor:
        """``B C_in H W -> B C_out H W``."""
        made: Tensor = torch.ops.mkldnn_prepacked.conv2d_run(field, self._own)
        return made


def packed(block: GateBlock, inputs: Inputs) -> dict[str, list[Packed]] | None:
    """For each source of a block a kernel for each of its tensors; None where torch convolves one of them otherwise."""
    made: dict[str, list[Packed]] = {}
    for name in block.sources:
        parts = inputs[name]
        kernels = torch.split(block.kernels[name], [part.shape[1] for part in parts], dim=1)
        if not all(map(by_onednn, parts, kernels)):
            return None
        biases = [block.bias_of(name), *[None] * (len(parts) - 1)]
        made[name] = [Packed(*given) for given in zip(kernels, biases, parts, strict=True)]
    return made


def convolved(inputs: Inputs, kernels: Mapping[str, list[Packed]]) -> Iterator[Tensor]:
    """``B C_out H W`` of each source, one after the other."""
    for name, own in kernels.items():
        first, *others = zip(own, inputs[name], strict=True)
        response = first[0](first[1])
        for kernel, part in others:
            response = response + kernel(part)
        yield response
