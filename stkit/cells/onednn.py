"""Convolutions by oneDNN with a kernel that is in its order already.

Given a kernel as it is, oneDNN brings it into an order of its own in every call. In a sequence it is the same kernel in
every step. The numbers are those that torch's own call gives: with :class:`Packed` to the bit; where a convolution is
added to what is there, the sum may be rounded at other places.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def fits(field: Tensor, kernel: Tensor) -> bool:
    """Whether oneDNN can convolve ``B C_in H W`` with ``C_out C_in k k``, in float32, and it is not a mere product."""
    if not (in_memory(field) and in_memory(kernel)) or not field.dtype == kernel.dtype == torch.float32:
        return False
    sizes = kernel.shape[2:]
    odd = len(sizes) == 2 and all(size % 2 for size in sizes)
    return odd and kernel[0, 0].numel() > 1 and field.numel() > 0 and bool(torch.backends.mkldnn.enabled)


def by_onednn(field: Tensor, kernel: Tensor) -> bool:
    """Whether torch itself would convolve these by oneDNN, if it :func:`fits`."""
    if not fits(field, kernel):
        return False
    own: Any = torch._C
    chosen = own._select_conv_backend(field, kernel, None, [1, 1], margins(kernel), [1, 1], False, [0, 0], 1)
    return bool(chosen == own._ConvBackend.Mkldnn)


@cache
def packs() -> bool:
    """Whether this torch has oneDNN, and convolutions with kernels in its order, which are no public part of torch."""
    private = hasattr(torch._C, "_select_conv_backend") and hasattr(torch._C, "_ConvBackend")
    own = torch.ops.mkldnn
    adds = hasattr(own, "_reorder_convolution_weight") and hasattr(own, "_convolution_pointwise_")
    return private and torch._C._has_mkldnn and adds and hasattr(torch.ops.mkldnn_prepacked, "conv2d_prepack")


def margins(kernel: Tensor) -> list[int]:
    """Zeros on each side of the axes of the grid, so that it keeps its size."""
    return [size // 2 for size in kernel.shape[2:]]


def ordered(kernel: Tensor, shape: Sequence[int]) -> Tensor:
    """``C_out C_in k k`` in oneDNN's order for fields ``B C_in H W``, for :func:`add_convolution`."""
    made: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        kernel.contiguous(), margins(kernel), [1, 1], [1, 1], 1, list(shape)
    )
    return made


def add_convolution(total: Tensor, field: Tensor, kernel: Tensor, padding: list[int]) -> None:
    """Add to ``B C_out H W`` the convolution of ``B C_in H W``, both with channels last in memory.

    Args:
        total: is changed.
        field: what is convolved.
        kernel: as :func:`ordered` makes it.
        padding: its :func:`margins`.
    """
    add = torch.ops.mkldnn._convolution_pointwise_.binary
    add(total, field, kernel, None, padding, [1, 1], [1, 1], 1, "add", 1.0, None, [], None)


def kernel_gradient(gradient: Tensor, field: Tensor, sizes: Sequence[int]) -> Tensor:
    """``C_out C_in k k``, given the gradient ``B C_out H W`` and the field ``B C_in H W``, both with channels last."""
    like = torch.empty(gradient.shape[1], field.shape[1], *sizes, memory_format=torch.channels_last)  # only its form
    backward = torch.ops.aten.convolution_backward
    found: Tensor = backward(
        gradient, field, like, None, [1, 1], margins(like), [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]
    return found


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
