"""Convolutions by oneDNN, gate by gate, each added to what its gate has already.

oneDNN is fastest with channels last in memory, with the channels of one gate as a result, and with kernels in an order
of its own: they are brought into it once a sequence, and once for its way back. The gradients of kernels are found for
several steps of the backward pass at once.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.cells.compiled.fields import empty_field
from stkit.cells.onednn import Inputs, add_convolution, fits, kernel_gradient, margins, ordered, undisturbed

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock

CHANNELS = 64
"""Of a gate from which on it pays: oneDNN is slow where a result has few."""
CELLS = 4096
"""``B*H*W`` of the steps for which gradients of kernels are found at once: more gain little, and take memory."""

Gradients = Sequence[Tensor | None]


@dataclass(frozen=True, eq=False)
class Convolution:
    """One of those that make a gate."""

    field: int
    """Which of the block's tensors it reads, counted over all sources."""
    source: int
    rows: slice
    """Of the source's kernel: those of the gate."""
    columns: slice
    """Of the source's kernel: those of the tensor."""

    def of(self, kernels: Sequence[Tensor]) -> Tensor:
        """Its part of the sources' kernels, ``C_out C_in k k``."""
        return kernels[self.source][self.rows, self.columns]


Gates = dict[str, list[Convolution]]


def gatewise(block: GateBlock, inputs: Inputs) -> Gatewise | None:
    """For a block in a sequence; None where it does not pay, or oneDNN cannot convolve."""
    if block.width < CHANNELS or not all(isinstance(norm, nn.Identity) for norm in block.norms.values()):
        return None
    every = [(part, block.kernels[name]) for name in block.sources for part in inputs[name]]
    return Gatewise(block, inputs) if all(fits(field, kernel) for field, kernel in every) else None


class Gatewise:
    """A block's convolutions in a sequence.

    Args:
        block: has no norms.
        inputs: each source's tensors ``B C H W``. Those of other steps are as large.
    """

    def __init__(self, block: GateBlock, inputs: Inputs) -> None:
        self._names = list(block.sources)
        self.kernels = [block.kernels[name] for name in self._names]
        self.biases = [block.biases[name] for name in self._names if name in block.biases]  # of all sources or of none
        self.gates = _gates(block, inputs)
        some = self.fields(inputs)[0]
        self._shape = (some.shape[0], block.width, *some.shape[2:])
        self._ordered: dict[Convolution, Tensor] = {}
        self._way_back = WayBack(self.gates)
        asked = torch.is_grad_enabled() and any(kernel.requires_grad for kernel in self.kernels)
        self._link: Tensor | None = _Link.apply(self._way_back, *self.kernels) if asked else None

    def __call__(self, inputs: Inputs) -> dict[str, Tensor]:
        """``B width H W`` of each gate, with the biases of its sources."""
        fields = [_last(field) for field in self.fields(inputs)]
        if not torch.is_grad_enabled():
            return dict(zip(self.gates, self.outcome(fields), strict=True))
        made = _Convolve.apply(self, self._way_back, self._link, *fields, *self.kernels, *self.biases)
        return dict(zip(self.gates, made, strict=True))

    def fields(self, inputs: Inputs) -> list[Tensor]:
        """The tensors of all sources, one after the other."""
        return [part for name in self._names for part in inputs[name]]

    def outcome(self, fields: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """A field for each gate, outside of any graph."""
        made = []
        for own in self.gates.values():
            total = _zeros(self._shape)
            if self.biases:
                for source, rows in _sources(own).items():
                    total += self.biases[source].detach()[rows, None, None]
            for one in own:
                if one not in self._ordered:
                    self._ordered[one] = ordered(one.of(self.kernels).detach(), fields[one.field].shape)
                add_convolution(total, fields[one.field], self._ordered[one], margins(self.kernels[0]))
            made.append(total)
        return tuple(made)


class WayBack:
    """What a backward pass over a sequence knows of a block, and what its steps have left for the kernels' gradients.

    Args:
        gates: the convolutions of each.
    """

    def __init__(self, gates: Gates) -> None:
        self._gates = list(gates.values())
        self._task = -1
        self._turned: dict[Convolution, Tensor] = {}
        """Kernels for the gradients of fields."""
        self._steps: list[tuple[Gradients, Sequence[Tensor]]] = []
        self._totals: list[Tensor] = []

    def slopes(
        self, gradients: Gradients, fields: Sequence[Tensor], kernels: Sequence[Tensor], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """The gradients of a step's fields, those that are wanted, given those of its gates."""
        self._begin()
        made = [_zeros(field.shape) if asked else None for field, asked in zip(fields, wanted, strict=True)]
        for own, gradient in zip(self._gates, gradients, strict=True):
            for one in own:
                total = made[one.field]
                if gradient is None or total is None:
                    continue
                if one not in self._turned:
                    self._turned[one] = ordered(one.of(kernels).flip(2, 3).transpose(0, 1), gradient.shape)
                add_convolution(total, gradient, self._turned[one], margins(kernels[0]))
        return made

    def wait(self, gradients: Gradients, fields: Sequence[Tensor], kernels: Sequence[Tensor]) -> None:
        """Take a step's gradients of its gates, and its fields."""
        self._begin()
        if not self._totals:
            self._totals = [_last(torch.zeros(kernel.shape)) for kernel in kernels]
        if self._steps and self._steps[-1][1][0].shape != fields[0].shape:
            self._sum_up()
        self._steps.append((gradients, fields))
        if len(self._steps) * fields[0][:, 0].numel() >= CELLS:
            self._sum_up()

    def take(self) -> list[Tensor] | None:
        """The gradient of each source's kernel in this pass; nothing stays."""
        if self._task != torch._C._current_graph_task_id():
            return None
        self._sum_up()
        found = self._totals
        self._forget()
        return [total.contiguous() for total in found] or None

    def _begin(self) -> None:
        task = torch._C._current_graph_task_id()
        if self._task != task:  # what a pass has left that did not ask for the kernels is dropped
            self._forget()
            self._task = task

    def _forget(self) -> None:
        self._turned, self._steps, self._totals = {}, [], []

    def _sum_up(self) -> None:
        if not self._steps:
            return
        steps, self._steps = self._steps, []
        fields = [_one_behind_the_other(own) for own in zip(*(fields for _, fields in steps), strict=True)]
        for own, given in zip(self._gates, zip(*(gradients for gradients, _ in steps), strict=True), strict=True):
            known = next((gradient for gradient in given if gradient is not None), None)
            if known is None:
                continue
            gradient = _one_behind_the_other([torch.zeros_like(known) if one is None else one for one in given])
            for one in own:
                total = one.of(self._totals)
                total += kernel_gradient(gradient, fields[one.field], total.shape[2:])


def _gates(block: GateBlock, inputs: Inputs) -> Gates:
    made: Gates = {gate: [] for gate in block.gates}
    place = 0
    for number, (name, source) in enumerate(block.sources.items()):
        for columns in _slices([part.shape[1] for part in inputs[name]]):
            for gate, rows in zip(source.gates, _slices([block.width] * len(source.gates)), strict=True):
                made[gate].append(Convolution(place, number, rows, columns))
            place += 1
    return made


def _sources(gate: Sequence[Convolution]) -> dict[int, slice]:
    """Which sources feed a gate, and the rows of their kernels that are its own."""
    return {one.source: one.rows for one in gate}


def _slices(sizes: Sequence[int]) -> list[slice]:
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]


def _last(field: Tensor) -> Tensor:
    return field.contiguous(memory_format=torch.channels_last)


def _zeros(shape: Sequence[int]) -> Tensor:
    return empty_field(shape, torch.float32, channels_last=True).zero_()


def _one_behind_the_other(fields: Sequence[Tensor]) -> Tensor:
    """In the batch."""
    if len(fields) == 1:
        return fields[0]
    batch, *others = fields[0].shape
    room = empty_field((len(fields) * batch, *others), torch.float32, channels_last=True)
    return torch.cat(list(fields), out=room)


class _Link(torch.autograd.Function):
    """What the convolutions of all steps hang on. The kernels' gradients are made of what these have left."""

    @staticmethod
    def forward(ctx: Any, way_back: WayBack, *kernels: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.way_back, ctx.kernels = way_back, len(kernels)
        return kernels[0].new_empty(0)

    @staticmethod
    def backward(ctx: Any, gradient: None) -> tuple[Tensor | None, ...]:
        return (None, *(ctx.way_back.take() or [None] * ctx.kernels))


class _Convolve(torch.autograd.Function):
    """Fields ``B C_in H W``, with the kernels and biases of their sources -> ``B C_out H W`` for each gate."""

    @staticmethod
    def forward(
        ctx: Any, own: Gatewise, way_back: WayBack, link: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.way_back, ctx.gates = way_back, own.gates
        kernels, biases = len(own.kernels), len(own.biases)
        ctx.parts = _slices([len(tensors) - kernels - biases, kernels, biases])
        ctx.save_for_backward(*tensors)
        return own.outcome(tensors[ctx.parts[0]])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        _, _, link, *wanted = ctx.needs_input_grad
        fields, kernels, biases = (ctx.saved_tensors[part] for part in ctx.parts)
        if all(gradient is None for gradient in gradients):
            return (None,) * len(ctx.needs_input_grad)
        if torch.is_grad_enabled() or not undisturbed():  # a graph of gradients is torch's to make
            return None, None, None, *_by_torch(ctx.gates, (fields, kernels, biases), wanted, gradients)
        given = [None if gradient is None else _last(gradient) for gradient in gradients]
        slopes = ctx.way_back.slopes(given, fields, kernels, wanted[ctx.parts[0]])
        if link:
            ctx.way_back.wait(given, fields, kernels)
        offsets = [torch.zeros_like(bias) for bias in biases]
        for own, gradient in zip(ctx.gates.values(), gradients, strict=True):
            if biases and gradient is not None:
                for source, rows in _sources(own).items():
                    offsets[source][rows] = gradient.sum(dim=(0, 2, 3))
        return None, None, None, *slopes, *[None] * len(kernels), *offsets


def _by_torch(
    gates: Gates, tensors: Sequence[Sequence[Tensor]], wanted: Sequence[bool], gradients: Gradients
) -> list[Tensor | None]:
    """The gradients of fields, kernels and biases, those that are wanted, in a graph if one is made."""
    in_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        fields, kernels, biases = ([tensor.view_as(tensor) for tensor in part] for part in tensors)  # each by itself
        asked = [tensor for tensor, one in zip((*fields, *kernels, *biases), wanted, strict=True) if one]
        made, given = [], []
        for own, gradient in zip(gates.values(), gradients, strict=True):
            if gradient is None:
                continue
            terms = [F.conv2d(fields[one.field], kernel := one.of(kernels), padding=margins(kernel)) for one in own] + [
                biases[source][rows, None, None] for source, rows in _sources(own).items() if biases
            ]
            made.append(reduce(torch.add, terms))
            given.append(gradient)
        found = iter(torch.autograd.grad(made, asked, given, create_graph=in_graph, allow_unused=True))
    return [next(found) if one else None for one in wanted]
