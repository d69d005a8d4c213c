"""A block's gates, convolution by convolution, and their place in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stkit.cells.convolution import same_convolution
from stkit.cells.gatewise.plan import Convolution, Gates, bounds, convolutions, sources
from stkit.cells.gatewise.planes import counts, planes, slices_of, with_channels_last, zeros
from stkit.cells.gatewise.way_back import Gradients, WayBack
from stkit.cells.onednn import Inputs, add_convolution, fits, margins, ordered, undisturbed

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock

CHANNELS = 64
"""Of a gate from which on it pays: oneDNN is slow where a result has few."""


def gatewise(block: GateBlock, inputs: Inputs) -> Gatewise | None:
    """For a block in a sequence; None where it does not pay, or oneDNN cannot convolve."""
    if block.width < CHANNELS or not all(isinstance(norm, nn.Identity) for norm in block.norms.values()):
        return None
    every = [(planes(part), slices_of(block.kernels[name])[0]) for name in block.sources for part in inputs[name]]
    return Gatewise(block, inputs) if all(fits(field, kernel) for field, kernel in every) else None


class Gatewise:
    """A block's convolutions in a sequence.

    Args:
        block: has no norms.
        inputs: each source's tensors ``B C *grid``. Those of other steps are as large.
    """

    def __init__(self, block: GateBlock, inputs: Inputs) -> None:
        self._names = list(block.sources)
        self.kernels = [block.kernels[name] for name in self._names]
        self.biases = [block.biases[name] for name in self._names if name in block.biases]  # of all sources or of none
        self.gates = convolutions(block, inputs)
        some = self.fields(inputs)[0]
        self._shape = (some.shape[0], block.width, *some.shape[2:])
        self._margins = margins(slices_of(self.kernels[0])[0])
        self._ordered: dict[Convolution, Tensor] = {}
        self._way_back = WayBack(self.gates)
        asked = torch.is_grad_enabled() and any(kernel.requires_grad for kernel in self.kernels)
        self._link: Tensor | None = _Link.apply(self._way_back, *self.kernels) if asked else None

    def __call__(self, inputs: Inputs) -> dict[str, Tensor]:
        """``B width *grid`` of each gate, with the biases of its sources."""
        fields = [with_channels_last(field) for field in self.fields(inputs)]
        if not torch.is_grad_enabled():
            return dict(zip(self.gates, self.outcome(fields), strict=True))
        made = _Convolve.apply(self, self._way_back, self._link, *fields, *self.kernels, *self.biases)
        return dict(zip(self.gates, made, strict=True))

    def fields(self, inputs: Inputs) -> list[Tensor]:
        """The tensors of all sources, one after the other."""
        return [part for name in self._names for part in inputs[name]]

    def outcome(self, fields: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """A field for each gate, outside of any graph."""
        made: list[Tensor] = []
        given, (batch, depth) = [planes(field) for field in fields], counts(self._shape)
        for own in self.gates.values():
            made.append(zeros(self._shape))
            total = planes(made[-1])
            if self.biases:
                for source, rows in sources(own).items():
                    total += self.biases[source].detach()[rows, None, None]
            for one in own:
                if one not in self._ordered:
                    self._ordered[one] = ordered(one.of(self.kernels).detach(), given[one.field].shape)
                for into, read in one.runs(batch, depth):
                    add_convolution(total[into], given[one.field][read], self._ordered[one], self._margins)
        return tuple(made)


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
    """Fields ``B C_in *grid``, with the kernels and biases of their sources -> ``B C_out *grid`` for each gate."""

    @staticmethod
    def forward(
        ctx: Any, own: Gatewise, way_back: WayBack, link: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.way_back, ctx.gates = way_back, own.gates
        kernels, biases = len(own.kernels), len(own.biases)
        ctx.parts = bounds([len(tensors) - kernels - biases, kernels, biases])
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
        given = [None if gradient is None else with_channels_last(gradient) for gradient in gradients]
        slopes = ctx.way_back.slopes(given, fields, kernels, wanted[ctx.parts[0]])
        if link:
            ctx.way_back.wait(given, fields, kernels)
        offsets = [torch.zeros_like(bias) for bias in biases]
        for own, gradient in zip(ctx.gates.values(), gradients, strict=True):
            if biases and gradient is not None:
                for source, rows in sources(own).items():
                    offsets[source][rows] = gradient.sum(dim=(0, *range(2, gradient.ndim)))
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
            whole = [one for one in own if not one.place]  # with all slices of its kernel
            cut = [kernels[one.source][one.rows, one.columns] for one in whole]
            terms = [same_convolution(fields[one.field], part, None) for one, part in zip(whole, cut, strict=True)]
            response = reduce(torch.add, terms)
            for source, rows in sources(own).items() if biases else ():
                response = response + biases[source][rows].view(-1, *[1] * (response.ndim - 2))
            made.append(response)
            given.append(gradient)
        found = iter(torch.autograd.grad(made, asked, given, create_graph=in_graph, allow_unused=True))
    return [next(found) if one else None for one in wanted]
