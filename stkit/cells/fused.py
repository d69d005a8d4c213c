"""An engine for GPUs: few launches. The sources of a gate are summed inside one convolution.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells.convolution import same_convolution
from stkit.cells.engine import LeavingSome
from stkit.cells.joined import joined, last

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock

Inputs = Mapping[str, tuple[Tensor, ...]]

WASTE = 0.25
"""Share of a convolution's kernel that may be zeros, where two are made one."""
REMEMBERED = 4
"""Concatenations that are found again: those of one cell's step."""


class Fused(LeavingSome):
    """Kernels that feed the same gates are put side by side once a sequence, and so are their sources at every step.

    ``[x, h] -> i f g o`` and ``[x, m] -> i' f' g'`` are two convolutions where :class:`stkit.cells.Direct` takes three
    and seven sums. Tensors come channels last in memory, and under autocast in its type. Offsets of sources and gates
    are part of the convolution. A block with norms, each of one source's response, is left to ``Direct``.
    """

    name = "fused"
    adds_bias = True

    def __init__(self) -> None:
        super().__init__()
        self._joined: list[tuple[Any, tuple[Tensor, ...], Tensor]] = []

    def _forget_tensors(self) -> None:
        self._joined = []

    def __call__(self, block: GateBlock, inputs: Inputs) -> dict[str, Tensor]:
        """One pre-activation ``B width *grid`` for each gate of ``block``, with the gate's own bias."""
        if has_norms(block):
            return block.biased(self.direct(block, inputs))
        kind = _kind(inputs)
        first = next(iter(inputs.values()))[0]
        slices = first.shape[2] if first.ndim == 5 else 0
        found: dict[str, Tensor] = {}
        for convolution in self._convolutions(block, kind, slices):
            parts = tuple(part for name in convolution.sources for part in inputs[name])
            response = convolution(self._join(parts, kind), slices)
            found |= zip(convolution.gates, torch.split(response, block.width, dim=1), strict=True)
        return found

    def _join(self, parts: tuple[Tensor, ...], kind: torch.dtype) -> Tensor:
        """Concatenated on the channels; found again where another block of the same step reads the same."""
        key = (kind, torch.is_grad_enabled())
        for known, before, made in self._joined:
            if known == key and len(parts) == len(before) and all(a is b for a, b in zip(parts, before, strict=True)):
                return made
        made = joined(parts, kind)
        if self._inside and not torch.compiler.is_compiling():
            self._joined = [*self._joined[1 - REMEMBERED :], (key, parts, made)]
        return made

    def _convolutions(self, block: GateBlock, kind: torch.dtype, slices: int) -> list[_Convolution]:
        """The block's kernels side by side, found again within a sequence."""
        key = (kind, torch.is_grad_enabled(), slices)
        known: tuple[Any, list[_Convolution]] | None = self._own.get(block)
        if known is not None and known[0] == key:
            return known[1]
        made = [_convolution(block, gates, sources, kind, slices) for gates, sources in groups(block)]
        if self._inside and self._keep_weights and not torch.compiler.is_compiling():
            self._own[block] = (key, made)
        return made


def has_norms(block: GateBlock) -> bool:
    """Whether the response of a source is normalised before the sum."""
    return not all(isinstance(norm, nn.Identity) for norm in block.norms.values())


class _Convolution(NamedTuple):
    """Gates that are computed by one convolution."""

    gates: tuple[str, ...]
    sources: tuple[str, ...]
    kernel: Tensor
    """``gates*width C_in *k``, with zeros where a source does not feed a gate; see also :func:`_flat`."""
    bias: Tensor | None

    def __call__(self, signal: Tensor, slices: int) -> Tensor:
        """The response ``B gates*width *grid`` to ``B C_in *grid``.

        Args:
            signal: channels last in memory.
            slices: ``D`` where the signal is ``B C D H W``; 0: it is ``B C H W``.
        """
        if not slices or self.kernel.ndim == 5:
            return same_convolution(signal, self.kernel, self.bias)
        batch, channels, _, height, width = signal.shape
        if self.kernel.shape[1] == channels:  # of one slice: all of them side by side in the batch
            each = signal.transpose(1, 2).reshape(batch * slices, channels, height, width)
            said = same_convolution(each, self.kernel, self.bias)
            return said.reshape(batch, slices, -1, height, width).transpose(1, 2)
        together = signal.permute(0, 3, 4, 2, 1).reshape(batch, height, width, slices * channels)  # B H W D*C
        bias = None if self.bias is None else self.bias.repeat(slices)
        said = same_convolution(together.permute(0, 3, 1, 2), self.kernel, bias)
        each = said.permute(0, 2, 3, 1).reshape(batch, height, width, slices, -1)  # B H W D C_out
        return last(each.permute(0, 4, 3, 1, 2), signal.dtype)


def groups(block: GateBlock) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Which gates go together, and their sources: those fed by the same ones, and few besides that lack one of them."""
    fed: dict[tuple[str, ...], list[str]] = {}
    for gate in block.gates:
        names = tuple(name for name, source in block.sources.items() if gate in source.gates)
        fed.setdefault(names, []).append(gate)

    def channels(names: Sequence[str]) -> int:
        return sum(block.sources[name].channels for name in names)

    made: dict[tuple[str, ...], list[str]] = {}
    for names in sorted(fed, key=channels, reverse=True):
        wider = [other for other in made if set(names) < set(other)]
        for other in sorted(wider, key=channels):
            lost = sum(channels(other) - channels(_of(block, gate)) for gate in (*made[other], *fed[names]))
            if lost <= WASTE * channels(other) * (len(made[other]) + len(fed[names])):
                made[other] += fed[names]
                break
        else:
            made[names] = list(fed[names])
    return [(tuple(gates), names) for names, gates in made.items()]


def _of(block: GateBlock, gate: str) -> list[str]:
    """The sources of a gate."""
    return [name for name, source in block.sources.items() if gate in source.gates]


def _convolution(
    block: GateBlock, gates: tuple[str, ...], sources: tuple[str, ...], kind: torch.dtype, slices: int
) -> _Convolution:
    kernel = torch.cat([_rows(block, name, gates, block.kernels[name]) for name in sources], dim=1)
    biases = [
        _rows(block, name, gates, bias) for name in sources for bias in (block.bias_of(name),) if bias is not None
    ]
    if block.bias is not None:
        biases.append(torch.cat([block.bias[block.gates.index(gate)].flatten() for gate in gates]))
    total = sum(biases[1:], biases[0]).to(kind) if biases else None
    return _Convolution(gates, sources, last(_flat(kernel, slices), kind), total)


def _flat(kernel: Tensor, slices: int) -> Tensor:
    """A three-dimensional kernel in two dimensions, for which GPUs have by far the faster convolutions.

    ``C_out C_in 1 k k -> C_out C_in k k``, which convolves slice by slice. Where a kernel is as deep as the field has
    slices, ``C_out C_in d k k -> D*C_out D*C_in k k``: each slice of the result from all slices of the signal side by
    side, with as many products as the field padded to the kernel's depth would take. Other kernels stay as they are.
    """
    if not slices or kernel.shape[2] == 1:
        return kernel[:, :, 0] if slices else kernel
    if kernel.shape[2] < slices:
        return kernel
    depth = kernel.shape[2]
    nothing = torch.zeros_like(kernel[:, :, 0])
    rows = []
    for out in range(slices):
        places = [within - out + (depth - 1) // 2 for within in range(slices)]
        rows.append(torch.cat([kernel[:, :, at] if 0 <= at < depth else nothing for at in places], dim=1))
    return torch.cat(rows)


def _rows(block: GateBlock, name: str, gates: tuple[str, ...], values: Tensor) -> Tensor:
    """The rows of a source's kernel or bias for some gates, in their order; zeros for those that it does not feed."""
    fed = block.sources[name].gates
    if gates == fed:
        return values
    if gates == fed[: len(gates)]:
        return values[: len(gates) * block.width]
    rows = torch.split(values, block.width)
    return torch.cat([rows[fed.index(gate)] if gate in fed else torch.zeros_like(rows[0]) for gate in gates])


def _kind(inputs: Inputs) -> torch.dtype:
    """The type to convolve in: that of autocast, else that of the tensors."""
    first = next(iter(inputs.values()))[0]
    device = first.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return first.dtype
