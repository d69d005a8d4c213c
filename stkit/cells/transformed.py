"""Kernels in Winograd's domain: products of a group of gates with them, and their gradients.

Axes: ``B`` batch, ``C`` channels, ``A`` places in a tile, ``N`` tiles, those of all first slices first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stkit.cells.tiles import Tiles

ROWS = 128
"""Tiles, over the steps of a backward pass, from which on they make an efficient product with their gradients."""


class Kernel:
    """The part of a kernel that belongs to one tensor of a source, transformed: a matrix a place and slice.

    The way back multiplies with the transposes. They take the place of the matrices in memory when it begins: as they
    lie, products are a third faster.

    Args:
        kernel: ``C_out C_in r r`` or ``C_out C_in K r r``.
        own: the transform.
    """

    def __init__(self, kernel: Tensor, own: Tiles) -> None:
        kernel = kernel if kernel.ndim == 5 else kernel[:, :, None]
        self._matrices = [own.kernel(part) for part in kernel.unbind(2)]
        self._transposed = False
        self._channels = kernel.shape[1]

    def add(self, total: Tensor, signal: Tensor, planes: int, *, anew: bool) -> None:
        """``total + signal * kernel`` in place of ``total``, or without it if ``anew``: ``A N C_in -> A N C_out``."""
        self._product(total, signal, planes, anew=anew, back=False)

    def back(self, gradient: Tensor, planes: int) -> Tensor:
        """The gradient of the signal from that of the product: ``A N C_out -> A N C_in``."""
        total = gradient.new_empty(*gradient.shape[:2], self._channels)
        self._product(total, gradient, planes, anew=True, back=True)
        return total

    def _product(self, total: Tensor, operand: Tensor, planes: int, *, anew: bool, back: bool) -> None:
        if self._transposed is not back:
            self._matrices = [matrix.transpose(1, 2).contiguous() for matrix in self._matrices]
            self._transposed = back
        reach = list(_reach(len(self._matrices), planes, operand.shape[1]))
        for matrix, (inside, outside) in sorted(zip(self._matrices, reach, strict=True), key=_whole_first):
            read, written = (outside, inside) if back else (inside, outside)
            if read != written:
                total[:, written] += torch.bmm(operand[:, read], matrix)
            elif anew:
                torch.bmm(operand, matrix, out=total)
            else:
                total.baddbmm_(operand, matrix)


def _reach(slices: int, planes: int, tiles: int) -> Iterator[tuple[slice, slice]]:
    """For each slice of a kernel the tiles that it reads and those that it adds to, as ``same_convolution`` pads."""
    each = tiles // planes
    for place in range(slices):
        shift = place - (slices - 1) // 2
        first, last = max(0, -shift), max(planes - max(0, shift), max(0, -shift))
        yield slice((first + shift) * each, (last + shift) * each), slice(first * each, last * each)


def _add_gradients(slices: int, totals: list[Tensor], signal: Tensor, gradient: Tensor, planes: int) -> None:
    """Add the gradient of a kernel of so many slices, a matrix a place and slice; an empty list is filled."""
    known = bool(totals)
    for place, (inside, outside) in enumerate(_reach(slices, planes, signal.shape[1])):
        left, right = signal[:, inside].transpose(1, 2), gradient[:, outside]
        if known:
            totals[place].baddbmm_(left, right)
        else:
            totals.append(torch.bmm(left, right))


def _whole_first(item: tuple[Tensor, tuple[slice, slice]]) -> bool:
    inside, outside = item[1]
    return inside != outside


@dataclass(eq=False)
class Group:
    """Gates that the same sources feed: these are summed before the way back."""

    gates: tuple[str, ...]
    own: Tiles
    parts: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    """For each source a kernel for each of its tensors, ``C_out C_in *r``."""
    bias: Tensor | None = None
    """``C_out``: the sources' own offsets."""
    norm: nn.Module | None = None
    """Of its only source, before the sum with others."""
    link: Tensor | None = None
    """By which products hang on the kernels in the graph."""
    sparing: bool = False
    """Whether gradients wait for as few steps as it pays: nothing else is kept of a step either."""

    def __post_init__(self) -> None:
        self._kernels: list[Kernel] | None = None
        self._waiting: list[tuple[tuple[Tensor, ...], Tensor]] = []
        self._totals: list[list[Tensor]] = []
        self._task = -1

    def hang_on(self, parts: Mapping[str, Sequence[Tensor]], *, in_graph: bool, keep: bool) -> None:
        """Take the kernels, ``C_out C_in *r`` for each tensor of each source.

        Args:
            parts: the kernels.
            in_graph: whether a gradient is asked for.
            keep: transform them now; otherwise they are transformed wherever they are used, for memory, and their
                gradients are added up as those of the kernels themselves.
        """
        self.parts = {name: tuple(part.detach() for part in found) for name, found in parts.items()}
        if keep:
            self._kernels = list(self._transformed())
        if in_graph:
            self.link = _Link.apply(self, *(part for found in parts.values() for part in found))

    def respond(
        self, fields: Mapping[str, Sequence[Tensor]], signals: Mapping[str, Sequence[Any]], width: int
    ) -> tuple[Tensor, ...]:
        """``B width *grid`` for each gate, or with a norm all of them in one tensor.

        Args:
            fields: ``B C *grid``, for each source its tensors.
            signals: the same, transformed.
            width: channels of a gate.
        """
        every = tuple(part.detach() for name in self.parts for part in fields[name])
        widths = [width] * len(self.gates) if self.norm is None else [width * len(self.gates)]
        operands = [part for name in self.parts for part in signals[name]]
        made: tuple[Tensor, ...] = _Respond.apply(self, every, widths, self.link, self.bias, *operands)
        return made

    def every_kernel(self) -> Iterable[Kernel]:
        """As their tensors come."""
        return self._transformed() if self._kernels is None else self._kernels

    def _transformed(self) -> Iterator[Kernel]:
        return (Kernel(part, self.own) for part in self._every_part())

    def _every_part(self) -> list[Tensor]:
        return [part for found in self.parts.values() for part in found]

    # The gradients of the kernels. A step leaves its fields and the gradients of its gates, for which the backward pass
    # has made room by then; several steps' are multiplied at a time.

    def add(self, fields: tuple[Tensor, ...], cells: Tensor) -> None:
        """Take a step's fields and the gradients of its gates, ``m*m N C_out``."""
        task = torch._C._current_graph_task_id()
        if self._task != task:  # what a pass left that did not ask for the kernels is dropped
            self._waiting, self._totals, self._task = [], [], task
        if self._waiting and self._waiting[-1][0][0].shape != fields[0].shape:
            self._sum_up()
        self._waiting.append((fields, cells))
        rows = sum(cells.shape[1] for _, cells in self._waiting)
        if rows >= ROWS and (self.sparing or self._waiting_numbers() >= self._numbers()):
            self._sum_up()

    def take(self) -> list[Tensor] | None:
        """The gradient of each part of a kernel in this pass; nothing stays."""
        if self._task != torch._C._current_graph_task_id():
            return None
        self._sum_up()
        totals, self._totals, self._task = self._totals, [], -1
        return [found[0] if self._kernels is None else self._mapped_back(found) for found in totals] or None

    def _mapped_back(self, found: list[Tensor]) -> Tensor:
        return torch.stack([self.own.kernel_gradient(total) for total in found], dim=2)

    def _waiting_numbers(self) -> int:
        return sum(cells.numel() + sum(field.numel() for field in fields) for fields, cells in self._waiting)

    def _numbers(self) -> int:
        return sum(matrix.numel() for kernel in self.every_kernel() for matrix in kernel._matrices)

    def _sum_up(self) -> None:
        if not self._waiting:
            return
        parts = self._every_part()
        self._totals = self._totals or [[] for _ in parts]
        shape = self._waiting[0][0][0].shape
        planes = shape[2] if len(shape) == 5 else 1
        together = max(1, -(-ROWS // self._waiting[0][1].shape[1]))
        while self._waiting:
            part, self._waiting = self._waiting[:together], self._waiting[together:]
            cells = [cells.view(cells.shape[0], planes, -1, cells.shape[2]) for _, cells in part]
            gradient = self.own.uncut(cells[0].flatten(1, 2) if len(part) == 1 else torch.cat(cells, 2).flatten(1, 2))
            for place, (kernel, totals) in enumerate(zip(parts, self._totals, strict=True)):
                signal = self.own.transformed([fields[place] for fields, _ in part], into="signal")
                slices = kernel.shape[2] if kernel.ndim == 5 else 1
                if self._kernels is not None:
                    _add_gradients(slices, totals, signal, gradient, planes)
                    continue
                added: list[Tensor] = []
                _add_gradients(slices, added, signal, gradient, planes)
                totals[:] = [self._mapped_back(added) if not totals else totals[0].add_(self._mapped_back(added))]


class _Link(torch.autograd.Function):
    """What the products of all steps hang on. The kernels' gradients are what these have left with the group."""

    @staticmethod
    def forward(ctx: Any, group: Group, *parts: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.group, ctx.ndims = group, [part.ndim for part in parts]
        return parts[0].new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: None) -> tuple[Tensor | None, ...]:
        found = ctx.group.take()
        if found is None:
            return (None, *[None] * len(ctx.ndims))
        return (None, *(part if ndim == 5 else part[:, :, 0] for part, ndim in zip(found, ctx.ndims, strict=True)))


class _Respond(torch.autograd.Function):
    """``A N C_k`` of each tensor -> a field for each gate: the products, summed, and the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        group: Group,
        fields: tuple[Tensor, ...],
        widths: list[int],
        link: Tensor | None,
        bias: Tensor | None,
        *signals: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        shape = fields[0].shape
        ctx.group, ctx.widths, ctx.shape = group, widths, shape
        ctx.planes = shape[2] if len(shape) == 5 else 1
        ctx.save_for_backward(*fields)
        size = (*signals[0].shape[:2], sum(widths))
        total = group.own.scratch("product", size, signals[0])
        for place, (kernel, signal) in enumerate(zip(group.every_kernel(), signals, strict=True)):
            kernel.add(total, signal, ctx.planes, anew=not place)
        return tuple(group.own.back(total, shape, widths, bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        group: Group = ctx.group
        own = group.own
        known = next((gradient for gradient in gradients if gradient is not None), None)
        _, _, _, link, bias, *signals = ctx.needs_input_grad
        if known is None:
            return (None,) * len(ctx.needs_input_grad)
        cells = own.cut(gradients, ctx.shape, ctx.widths, known)
        found: list[Tensor | None] = [None] * len(signals)
        if any(signals):
            gradient = own.uncut(cells)
            for place, (kernel, wanted) in enumerate(zip(group.every_kernel(), signals, strict=True)):
                found[place] = kernel.back(gradient, ctx.planes) if wanted else None
        if link:
            group.add(ctx.saved_tensors, cells)
        return (None, None, None, None, cells.sum(dim=(0, 1)) if bias else None, *found)
