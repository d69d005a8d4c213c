"""The cell interface: within a step a signal rises, state stays, memory returns.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width. Cells work on ``B C H W`` (or ``B C D H W``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stkit.plugin.config import CarryPort

Tensors = dict[str, Tensor]
"""Named tensors: the state of a node, or the registers that are carried through the stack."""


class StepOut(NamedTuple):
    """What one step of a node gives."""

    y: Tensor
    """The rising signal: input of the next node, or of the head."""
    state: Tensors
    """Stays with the node for the next time step."""
    carry: Tensors
    """Rises from node to node within the step and returns from the last node to the first one of the next step."""
    aux: Tensors
    """By-products for losses and diagnostics; never fed back."""


class Cell(nn.Module):
    """A node of a stack. ``step`` is pure: it writes no attribute, so nothing of a sequence survives in the module.

    Attributes:
        in_channels: channels of ``x``; 0 if the node takes no input (the unconditional forecaster of ConvLSTM).
        out_channels: channels of ``y``.
        carry_spec: the carried registers it reads and writes; :class:`stkit.stacks.Stack` checks the chain.
        out_key: name of the state entry that equals ``y``.
    """

    in_channels: int
    out_channels: int
    carry_spec: Mapping[str, CarryPort]
    out_key: str = "h"

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros, one tensor of its own for each entry; the set of keys is the same at every step."""
        raise NotImplementedError

    def initial_carry(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for each register this node reads (``B C H W``). Cells on 5-D tensors override it."""
        return {
            name: torch.zeros(batch, port.reads, height, width, device=device, dtype=dtype)
            for name, port in self.carry_spec.items()
            if port.reads
        }

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """One time step. ``x``: ``B C_in H W``, or None where the node has no input."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.in_channels} -> {self.out_channels}"


class Transition(nn.Module):
    """What fills the slot in ``C_t = keep + i . g``: the forget gate, MIM or RECALL.

    Its state entries live in the cell's state under the prefix ``transition.``; the cell hands it that part only.
    """

    needs_gate: bool = True
    """Whether the cell must compute gate pre-activations for it. MIM needs none."""
    carry_spec: Mapping[str, CarryPort] = {}

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for what the transition remembers; empty for a forget gate."""
        return {}

    def forward(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        """Returns ``keep`` (as ``c``), the transition's new state, and the carry.

        Args:
            gate: pre-activation (not yet squashed) of the forget or recall gate; None where ``needs_gate`` is False.
            c: the cell's memory of the previous step.
            x: the cell's input of this step.
        """
        raise NotImplementedError

    def commit(self, c_new: Tensor, state: Tensors) -> Tensors:
        """Called with the new memory once it is known; RECALL appends it to its history."""
        return state


class CellSite(NamedTuple):
    """Where a cell stands in a stack: what the builder knows and a cell's constructor needs."""

    in_channels: int
    """Channels of ``x``; 0: no input."""
    width: int
    """Hidden channels."""
    carry_in: Mapping[str, int]
    """Channels of each carried register as it arrives here."""
    grid: tuple[int, int] | None
    """Height and width after patching, for parameters that are declared per pixel; None where it is not known."""
    transition: Any
    """The transition's factory ``(site) -> Transition``, or None for the cell's own forget gate."""
    norms: Any
    """The norm factory ``(name, channels, site) -> nn.Module``."""
    device: torch.device | None = None
    dtype: torch.dtype | None = None
