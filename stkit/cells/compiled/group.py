"""A group of gates whose products, maps and gradients are compiled.

Axes: ``B`` batch, ``C`` channels, then the grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stkit.cells.compiled.kernels import Kernels, Term, kernels
from stkit.cells.convolution import shifts
from stkit.cells.transformed import Group

ROWS, FEWER = 128, 64
"""Tiles, over the steps of a backward pass, from which on their products with gradients are efficient, and how many are
enough where kernels are not kept, for memory."""


class Packed:
    """The part of a kernel that belongs to one tensor of a source, a packed matrix a slice.

    The way back multiplies with the transposes. They take the place of the matrices in memory when it begins.

    Args:
        kernel: ``C_out C_in *r``.
        own: the functions.
        gates: gates that it feeds.
    """

    def __init__(self, kernel: Tensor, own: Kernels, gates: int) -> None:
        self.slices = _slices(kernel)
        self._own, self._gates = own, gates
        self._version = kernel._version
        self._memory: Sequence[Tensor | None] = [None] * len(self.slices)
        self._turned: bool | None = None

    @property
    def sizes(self) -> list[int]:
        """Numbers of each matrix."""
        return [self._own.packed(part.shape, self._gates) for part in self.slices]

    def use(self, memory: Sequence[Tensor]) -> None:
        """What the matrices are made in."""
        self._memory, self._turned = memory, None

    def matrices(self, *, turned: bool) -> Sequence[Tensor]:
        """One for each slice.

        Raises:
            RuntimeError: the kernel has been changed in place since the forward pass.
        """
        if self._turned is not turned:
            if self.slices[0]._version != self._version:
                raise RuntimeError(
                    "a kernel has been modified by an inplace operation before its gradient was computed"
                )
            self._memory = [
                self._own.pack(part, self._gates, turned=turned, into=memory)
                for part, memory in zip(self.slices, self._memory, strict=True)
            ]
            self._turned = turned
        return [memory for memory in self._memory if memory is not None]


class Room:
    """Memory for kernels that are packed wherever they are used: those of one use lie where those of the last did."""

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def lend(self, packed: Sequence[Packed], own: Kernels) -> None:
        """Let these kernels be packed in it; those that were before are gone."""
        sizes = [size for one in packed for size in one.sizes]
        like = packed[0].slices[0]
        if self._memory is None or self._memory.dtype != like.dtype or self._memory.numel() < sum(sizes):
            self._memory = None  # before the new one is there
            self._memory = own.roomy(like, sum(sizes))
        parts = iter(torch.split(self._memory[: sum(sizes)], sizes))
        for one in packed:
            one.use([next(parts) for _ in one.slices])


@dataclass(eq=False)
class CompiledGroup(Group):
    """As :class:`stkit.cells.transformed.Group`; signals are of :class:`stkit.cells.compiled.kernels.Kernels`."""

    room: Room = field(default_factory=Room)
    """For kernels that are not kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kept: list[Packed] | None = None
        self._keeps = False

    @cached_property
    def compiled(self) -> Kernels:
        """The functions for its kernels."""
        some = self._every_part()[0]
        return kernels(some.shape[-1], some.dtype)

    def respond(
        self, fields: Mapping[str, Sequence[Tensor]], signals: Mapping[str, Sequence[Any]], width: int
    ) -> tuple[Tensor, ...]:
        """See :meth:`Group.respond`; signals are :class:`Lent`."""
        every = [part for name in self.parts for part in fields[name]]
        transformed = [part.tensor for name in self.parts for part in signals[name]]
        width = width if self.norm is None else width * len(self.gates)
        if not torch.is_grad_enabled():
            return self.outcome(transformed, every, width, self.bias)
        made: tuple[Tensor, ...] = _Respond.apply(self, transformed, width, self.link, self.bias, *every)
        return made

    def outcome(
        self, signals: Sequence[Tensor], fields: Sequence[Tensor], width: int, bias: Tensor | None
    ) -> tuple[Tensor, ...]:
        """A field for each gate."""
        terms = self.terms(signals, fields)
        return tuple(self.compiled.respond(terms, fields[0].shape, width, self.outputs, bias))

    @property
    def outputs(self) -> int:
        """Fields that come out: one for each gate, or with a norm one of all."""
        return len(self.gates) if self.norm is None else 1

    def _keep(self) -> None:
        self._keeps, self._kept = True, self._packed(self._every_part())

    def _packed(self, parts: Sequence[Tensor]) -> list[Packed]:
        return [Packed(part, self.compiled, self.outputs) for part in parts]

    def _some_packed(self, some: slice) -> list[Packed]:
        """As their tensors come; where they are not kept, until this is called again."""
        if self._keeps and self._kept is None:
            self._keep()
        if self._kept is not None:
            return self._kept[some]
        packed = self._packed(self._every_part()[some])
        self.room.lend(packed, self.compiled)
        return packed

    def terms(self, signals: Sequence[Tensor], fields: Sequence[Tensor]) -> list[Term]:
        """The products that make the gates."""
        packed = self._some_packed(slice(None))
        return [
            Term(signal, matrix, field.shape[1], 1, shift)
            for signal, field, part in zip(signals, fields, packed, strict=True)
            for matrix, shift in zip(part.matrices(turned=False), shifts(len(part.slices)), strict=True)
        ]

    def terms_back(self, gradient: Tensor, width: int, wanted: Sequence[bool]) -> Iterator[tuple[int, list[Term]]]:
        """The places of those tensors that want a gradient, with the products that make it."""
        for place in (place for place, asked in enumerate(wanted) if asked):
            (part,) = self._some_packed(slice(place, place + 1))
            yield (
                place,
                [
                    Term(gradient, matrix, width, self.outputs, -shift)
                    for matrix, shift in zip(part.matrices(turned=True), shifts(len(part.slices)), strict=True)
                ],
            )

    # The gradients of the kernels.

    def wait(self, fields: tuple[Tensor, ...], gates: tuple[Tensor | None, ...], width: int) -> None:
        """Take a step's fields and the gradients of its gates."""
        self._begin_pass()
        if self._steps and self._steps[-1][0][0].shape != fields[0].shape:
            self._sum_up()
        self._steps.append((fields, gates, width))
        batch, _, *planes, height, width = fields[0].shape
        tiles = len(self._steps) * math.prod((batch, *planes, *self.own.count(height, width)))
        if tiles >= (ROWS if self._keeps else FEWER):
            self._sum_up()

    def _drop(self) -> None:
        self._steps: list[tuple[tuple[Tensor, ...], tuple[Tensor | None, ...], int]] = []
        self._sums: list[list[Tensor]] = []

    def _summed(self) -> list[Tensor]:
        self._kept = None  # all steps have gone back
        made = []
        for part, totals in zip(self._every_part() if self._sums else [], self._sums, strict=True):
            whole = torch.empty(part.shape, dtype=part.dtype)
            for total, into in zip(totals, _slices(whole), strict=True):
                self.compiled.unpack(total, into, self.outputs)
            made.append(whole if whole.ndim == 5 else whole[:, :, None])
        return made

    def _sum_up(self) -> None:
        if not self._steps:
            return
        steps, self._steps = self._steps, []
        shape, width, gates = steps[0][0][0].shape, steps[0][2], len(steps[0][1])
        parts = self._every_part()
        if not self._sums:
            self._sums = [[self.compiled.no_sum(one, gates) for one in _slices(part)] for part in parts]
        batch = len(steps) * shape[0]
        gradient = self.compiled.untransform([given for _, given, _ in steps], shape, width)
        for place, (part, totals) in enumerate(zip(parts, self._sums, strict=True)):
            signal = self.compiled.transform([fields[place] for fields, _, _ in steps], into="signal")
            for total, shift in zip(totals, shifts(len(totals)), strict=True):
                self.compiled.weigh(total, signal, gradient, batch, shape, part.shape[1], width, gates, shift)


def _slices(kernel: Tensor) -> list[Tensor]:
    """``C_out C_in r r``: a kernel, or its slices, each dense in its last two axes."""
    found = [kernel] if kernel.ndim == 4 else list(kernel.unbind(2))
    return [part if part.stride()[2:] == (part.shape[3], 1) else part.contiguous() for part in found]


class _Respond(torch.autograd.Function):
    """Fields ``B C *grid`` -> a field for each gate."""

    @staticmethod
    def forward(
        ctx: Any,
        group: CompiledGroup,
        signals: list[Tensor],
        width: int,
        link: Tensor | None,
        bias: Tensor | None,
        *fields: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.group, ctx.width = group, width
        ctx.save_for_backward(*fields)
        return group.outcome(signals, fields, width, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        group: CompiledGroup = ctx.group
        _, _, _, link, bias, *wanted = ctx.needs_input_grad
        fields: tuple[Tensor, ...] = ctx.saved_tensors
        known = next((gradient for gradient in gradients if gradient is not None), None)
        if known is None:
            return (None,) * len(ctx.needs_input_grad)
        found: list[Tensor | None] = [None] * len(wanted)
        if any(wanted):
            gradient = group.compiled.untransform([gradients], fields[0].shape, ctx.width, operand=True)
            for place, terms in group.terms_back(gradient, ctx.width, wanted):
                found[place] = group.compiled.retrace(terms, fields[place].shape)
        if link:
            group.wait(fields, gradients, ctx.width)
        offset = None
        if bias:
            offset = torch.cat(
                [
                    known.new_zeros(ctx.width) if gradient is None else gradient.sum(dim=(0, *range(2, gradient.ndim)))
                    for gradient in gradients
                ]
            )
        return (None, None, None, None, offset, *found)
