"""Cells whose state is kept, changed or handed on wrongly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stkit.cells.base import CellSite, StepOut, Tensors

from .plain import Plain


class KeepsStateOnSelf(Plain):
    """The memory lives in the module and is never reset: the same input twice gives two outputs."""

    kept: Tensor | None = None

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        if self.kept is not None and self.kept.shape == c.shape:
            c = self.kept
        c, m = super().memories(seen, c, m)
        self.kept = c.detach()
        return c, m


class KeepsRunningStatistics(Plain):
    """A batch norm on the hidden state: it writes buffers in training."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site)
        self.norm = nn.BatchNorm2d(site.width, device=site.device, dtype=site.dtype)

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        return self.norm(c), m


class ReturnsTheOldMemory(Plain):
    """The new memory is computed and used, and the old one is handed back."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(state={**out.state, "c": state["c"]})


class OverwritesItsOutputs(Plain):
    """A buffer is written in place and handed out at every step."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        h = state["h"].detach().copy_(out.y)
        return out._replace(y=h, state={**out.state, "h": h})


class PeeksAtTheFuture(Plain):
    """Outputs are smoothed over time by changing those that were handed out."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        with torch.no_grad():
            state["h"].add_(out.y, alpha=0.1)
        return out


class ChangesItsKeys(Plain):
    """An entry appears at the first step."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(state={**out.state, "previous": out.y})


class GrowsItsHistory(Plain):
    """An entry gets longer at every step."""

    def initial_state(self, *sizes: Any, **to: Any) -> Tensors:
        state = super().initial_state(*sizes, **to)
        return {**state, "history": state["c"][:, :0].clone()}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(state={**out.state, "history": torch.cat([state["history"], out.y], 1)})


class NamesStatesByTime(Plain):
    """Each step adds an entry that is called after the time."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(state={**state, **out.state, f"h{len(state)}": out.y})


class AliasesItsZeros(Plain):
    """One tensor of zeros for two entries."""

    def initial_state(self, *sizes: Any, **to: Any) -> Tensors:
        zeros = super().initial_state(*sizes, **to)["h"]
        return {"h": zeros, "c": zeros}


class ExpandsItsZeros(Plain):
    """A single zero behind every element."""

    def initial_state(self, *sizes: Any, **to: Any) -> Tensors:
        state = super().initial_state(*sizes, **to)
        return {name: value.new_zeros(()).expand_as(value) for name, value in state.items()}


FAULTS: list[tuple[type[Plain], str]] = [
    (KeepsStateOnSelf, "pure"),
    (KeepsStateOnSelf, "writes-nothing"),
    (KeepsStateOnSelf, "resumes"),
    (KeepsRunningStatistics, "writes-nothing"),
    (ReturnsTheOldMemory, "state-moves"),
    (OverwritesItsOutputs, "writes-nothing"),
    (OverwritesItsOutputs, "causality"),
    (PeeksAtTheFuture, "causality"),
    (PeeksAtTheFuture, "writes-nothing"),
    (ChangesItsKeys, "state-form"),
    (GrowsItsHistory, "state-form"),
    (GrowsItsHistory, "compiles"),
    (NamesStatesByTime, "state-form"),
    (NamesStatesByTime, "compiles"),
    (AliasesItsZeros, "state-form"),
    (ExpandsItsZeros, "state-form"),
]
"""Each with a rule that catches it."""
