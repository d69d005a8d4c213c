"""Kernels in Winograd's domain: products of a group of gates with them, and their gradients.

Sums are cut into short ones that are added up, which round less than long ones.

Axes: ``B`` batch, ``C`` channels, ``A`` places in a tile, ``N`` tiles, those of all first slices first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stkit.cells.convolution import shifts
from stkit.cells.tiles import Tiles

ROWS = 128
"""Tiles, over the steps of a backward pass, from which on they make an efficient product with their gradients."""
CHANNELS = 32
"""Channels over which one sum goes in the products that make gates."""
CHAIN = 32
"""Tiles over which one sum goes in the gradients of kernels."""


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
        self._product(total, signal, planes, CHANNELS, anew=anew, back=False)

    def back(self, gradient: Tensor, planes: int) -> Tensor:
        """The gradient of the signal from that of the product: ``A N C_out -> A N C_in``."""
        total = gradient.new_empty(*gradient.shape[:2], self._channels)
        self._product(total, gradient, planes, gradient.shape[2], anew=True, back=True)
        return total

    def _product(self, total: Tensor, operand: Tensor, planes: int, longest: int, *, anew: bool, back: bool) -> None:
        if self._transposed is not back:
            self._matrices = [matrix.transpose(1, 2).contiguous() for matrix in self._matrices]
            self._transposed = back
        reach = list(_reach(len(self._matrices), planes, operand.shape[1]))
        for matrix, (inside, outside) in sorted(zip(self._matrices, reach, strict=True), key=_whole_first):
            read, written = (outside, inside) if back else (inside, outside)
            whole = read == written
            _add_product(total[:, written], operand[:, read], matrix, longest, anew=anew and whole)


def _add_product(total: Tensor, left: Tensor, right: Tensor, longest: int, *, anew: bool) -> None:
    """``total + left * right``, or without it if ``anew``: in place of ``total``, in sums of so many terms at most."""
    for first in range(0, max(1, left.shape[2]), longest):
        terms = slice(first, first + longest)
        if anew and not first:
            torch.bmm(left[:, :, terms], right[:, terms], out=total)
        else:
            total.baddbmm_(left[:, :, terms], right[:, terms])


def _reach(slices: int, planes: int, tiles: int) -> Iterator[tuple[slice, slice]]:
    """For each slice of a kernel the tiles that it reads and those that it adds to, as ``same_convolution`` pads."""
    each = tiles // planes
    for shift in shifts(slices):
        first, last = max(0, -shift), max(planes - max(0, shift), max(0, -shift))
        yield slice((first + shift) * each, (last + shift) * each), slice(first * each, last * each)


def _add_gradients(slices: int, totals: list[Tensor], signal: Tensor, gradient: Tensor, planes: int) -> None:
    """Add the gradient of a kernel of so many slices, a matrix a place and slice; an empty list is filled."""
    known = bool(totals)
    for place, (inside, outside) in enumerate(_reach(slices, planes, signal.shape[1])):
        left, right = signal[:, inside].transpose(1, 2), gradient[:, outside]
        if not known:
            totals.append(left.new_empty(left.shape[0], left.shape[1], right.shape[2]))
        _add_product(totals[place], left, right, CHAIN, anew=not known)


def _whole_first(item: tuple[Tensor, tuple[slice, slice]]) -> bool:
    inside, outside = item[1]
    return inside != outside


@dataclass(eq=False)
class Group(ABC):
    """Gates that the same sources feed: these are summed before the way back.

    A step of the backward pass leaves what the gradients of the kernels are made of, for which the pass has made room
    by then; several steps' are multiplied at a time.
    """

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

    def __post_init__(self) -> None:
        self._task = -1
        self._drop()

    def hang_on(self, parts: Mapping[str, Sequence[Tensor]], *, in_graph: bool, keep: bool) -> None:
        """Take the kernels, ``C_out C_in *r`` for each tensor of each source.

        Args:
            parts: the kernels.
            in_graph: whether a gradient is asked for.
            keep: transform them now; otherwise they are transformed wherever they are used, for memory.
        """
        self.parts = {name: tuple(part.detach() for part in found) for name, found in parts.items()}
        if keep:
            self._keep()
        if in_graph:
            self.link = _Link.apply(self, *(part for found in parts.values() for part in found))

    @abstractmethod
    def respond(
        self, fields: Mapping[str, Sequence[Tensor]], signals: Mapping[str, Sequence[Any]], width: int
    ) -> tuple[Tensor, ...]:
        """``B width *grid`` for each gate, or with a norm all of them in one tensor.

        Args:
            fields: ``B C *grid``, for each source its tensors.
            signals: the same, transformed.
            width: channels of a gate.
        """

    def take(self) -> list[Tensor] | None:
        """The gradient of each part of a kernel in this pass, ``C_out C_in K r r``; nothing stays."""
        if self._task != torch._C._current_graph_task_id():
            return None
        self._sum_up()
        made = self._summed()
        self._drop()
        self._task = -1
        return made or None

    @abstractmethod
    def _keep(self) -> None:
        """Transform the kernels."""

    @abstractmethod
    def _drop(self) -> None:
        """Let go what steps have left."""

    @abstractmethod
    def _sum_up(self) -> None:
        """Multiply what steps have left, and add it to the sums."""

    @abstractmethod
    def _summed(self) -> list[Tensor]:
        """The gradients that :meth:`take` gives; empty: nothing has been left."""

    def _begin_pass(self) -> None:
        task = torch._C._current_graph_task_id()
        if self._task != task:  # what a pass left that did not ask for the kernels is dropped
            self._drop()
            self._task = task

    def _every_part(self) -> list[Tensor]:
        return [part for found in self.parts.values() for part in found]


@dataclass(eq=False)
class OperatorGroup(Group):
    """A group whose products, maps and gradients are torch's operators.

    Where kernels are not kept transformed, their gradients are added up as those of the kernels themselves.
    """

    sparing: bool = False
    """Whether gradients wait for as few steps as it pays: nothing else is kept of a step either."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kernels: list[Kernel] | None = None

    def respond(
        self, fields: Mapping[str, Sequence[Tensor]], signals: Mapping[str, Sequence[Any]], width: int
    ) -> tuple[Tensor, ...]:
        """See :meth:`Group.respond`."""
        every = tuple(part.detach() for name in self.parts for part in fields[name])
        widths = [width] * len(self.gates) if self.norm is None else [width * len(self.gates)]
        operands = [part for name in self.parts for part in signals[name]]
        made: tuple[Tensor, ...] = _Respond.apply(self, every, widths, self.link, self.bias, *operands)
        return made

    def every_kernel(self) -> Iterable[Kernel]:
        """As their tensors come."""
        return self._transformed() if self._kernels is None else self._kernels

    def add(self, fields: tuple[Tensor, ...], cells: Tensor) -> None:
        """Take a step's fields and the gradients of its gates, ``m*m N C_out``."""
        self._begin_pass()
        if self._waiting and self._waiting[-1][0][0].shape != fields[0].shape:
            self._sum_up()
        self._waiting.append((fields, cells))
        rows = sum(cells.shape[1] for _, cells in self._waiting)
        if rows >= ROWS and (self.sparing or self._waiting_numbers() >= self._numbers()):
            self._sum_up()

    def _keep(self) -> None:
        self._kernels = list(self._transformed())

    def _transformed(self) -> Iterator[Kernel]:
        return (Kernel(part, self.own) for part in self._every_part())

    def _drop(self) -> None:
        self._waiting: list[tuple[tuple[Tensor, ...], Tensor]] = []
        self._totals: list[list[Tensor]] = []

    def _summed(self) -> list[Tensor]:
        return [found[0] if self._kernels is None else self._mapped_back(found) for found in self._totals]

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
        group: OperatorGroup,
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
        group: OperatorGroup = ctx.group
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
