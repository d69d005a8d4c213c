"""What a backward pass makes of a block's convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stkit.cells.gatewise.plan import Convolution, Gates
from stkit.cells.gatewise.planes import counts, one_behind_the_other, planes, with_channels_last, zeros
from stkit.cells.onednn import add_convolution, kernel_gradient, margins, ordered

CELLS = 4096
"""Of samples, slices and steps for which gradients of kernels are found at once: more gain little and take memory."""

Gradients = Sequence[Tensor | None]


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
        made = [zeros(field.shape) if asked else None for field, asked in zip(fields, wanted, strict=True)]
        totals = [None if one is None else planes(one) for one in made]
        batch, depth = counts(fields[0].shape)
        for own, given in zip(self._gates, gradients, strict=True):
            gradient = None if given is None else planes(given)
            for one in own:
                total = totals[one.field]
                if gradient is None or total is None:
                    continue
                kernel = one.of(kernels)
                if one not in self._turned:
                    self._turned[one] = ordered(kernel.flip(2, 3).transpose(0, 1), gradient.shape)
                for read, into in one.runs(batch, depth):
                    add_convolution(total[into], gradient[read], self._turned[one], margins(kernel))
        return made

    def wait(self, gradients: Gradients, fields: Sequence[Tensor], kernels: Sequence[Tensor]) -> None:
        """Take a step's gradients of its gates, and its fields."""
        self._begin()
        if not self._totals:
            self._totals = [with_channels_last(torch.zeros(kernel.shape)) for kernel in kernels]
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
        batch, depth = counts(steps[0][1][0].shape)
        fields = [[planes(field) for field in own] for own in zip(*(fields for _, fields in steps), strict=True)]
        read: dict[tuple[int, int], Tensor] = {}
        for own, given in zip(self._gates, zip(*(gradients for gradients, _ in steps), strict=True), strict=True):
            known = next((gradient for gradient in given if gradient is not None), None)
            if known is None:
                continue
            gradients = [planes(torch.zeros_like(known) if one is None else one) for one in given]
            made: dict[int, Tensor] = {}
            for one in own:
                runs = one.runs(batch, depth)
                if not runs:
                    continue
                if one.shift not in made:
                    made[one.shift] = one_behind_the_other(gradients, [into for into, _ in runs])
                if (one.field, one.shift) not in read:
                    read[one.field, one.shift] = one_behind_the_other(fields[one.field], [of for _, of in runs])
                total = one.of(self._totals)
                total += kernel_gradient(made[one.shift], read[one.field, one.shift], total.shape[2:])
