"""The cell interface: within a step a signal rises, state stays, memory returns.

Axes: ``B`` batch, ``C`` channels, ``D`` depth, ``H`` height, ``W`` width. Cells work on ``B C H W`` (or ``B C D H W``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells import gated, observe
from stkit.cells.attachment import Attachment
from stkit.plugin.config import CarryPort

Tensors = dict[str, Tensor]
"""Named tensors: the state of a node, or the registers that are carried through the stack."""

NormFactory = Callable[[int], nn.Module]
"""Makes the normalisation of so many channels."""

_OWN = "transition."
_ATTENTION = "attention."


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
        input_depth: slices of ``x`` where it is ``B C D H W``; 0: it is ``B C H W``.
        output_depth: slices of ``y``.
        carry_spec: the carried registers it reads and writes; :class:`stkit.stacks.Stack` checks the chain.
        out_key: name of the state entry that equals ``y``.
        hands_out_increments: whether ``aux`` has what a step adds to the memories; see :meth:`increments`.
    """

    in_channels: int
    out_channels: int
    input_depth: int = 0
    output_depth: int = 0
    carry_spec: Mapping[str, CarryPort]
    out_key: str = "h"
    hands_out_increments: bool = True

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros, one tensor of its own for each entry; the set of keys is the same at every step."""
        raise NotImplementedError

    def initial_carry(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for each register this node reads: ``B C H W``, or ``B C D H W`` where its port has a depth."""
        return {
            name: torch.zeros(batch, port.reads, *slices(port.depth), height, width, device=device, dtype=dtype)
            for name, port in self.carry_spec.items()
            if port.reads
        }

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """One time step. ``x``: ``B C_in H W``, or None where the node has no input."""
        raise NotImplementedError

    def increments(self, **gates: tuple[Tensor, Tensor]) -> Tensors:
        """For ``aux``, by name: what a step adds to a memory, from the pre-activations ``i`` and ``g``.

        Nothing where nobody reads it: a forecaster asks for it on behalf of its loss, an observer by looking.
        """
        if not (self.hands_out_increments or observe.watched()):
            return {}
        return {name: gated.increment(i, g) for name, (i, g) in gates.items()}

    def extra_repr(self) -> str:
        """Channels in and out, for ``print(model)``."""
        return f"{self.in_channels} -> {self.out_channels}"


def slices(depth: int) -> tuple[int, ...]:
    """The axis between channels and height that ``depth`` stands for; none where it is 0."""
    return (depth,) if depth else ()


class Transition(nn.Module):
    """What fills the slot in ``C_t = keep + i . g``: the forget gate, MIM or RECALL.

    A transition writes :meth:`initial_state`, :meth:`forward` and, if it remembers the new memory, :meth:`commit`, in
    names of its own. A cell calls :meth:`zeros`, :meth:`update` (:meth:`keep` if its equation is another one) and
    :meth:`remember`, which put its entries into the cell's state under the prefix ``transition.`` and take them out
    again.

    Attention can stand at signals inside it that it names in ``places`` and passes through :meth:`attended`.
    """

    needs_gate: bool = True
    """Whether the cell must compute gate pre-activations for it. MIM needs none."""
    carry_spec: Mapping[str, CarryPort] = {}
    places: tuple[str, ...] = ()
    """Signals inside it, with the memory's channels, at which attention can stand; those of its configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.attachments = nn.ModuleDict()

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
            state: what the transition remembers.
            carry: the carried registers as they arrive at the cell.
        """
        raise NotImplementedError

    def commit(self, c_new: Tensor, state: Tensors) -> Tensors:
        """Called with the new memory once it is known; RECALL appends it to its history."""
        return state

    def zeros(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """The transition's part of the cell's initial state."""
        size = (batch, height, width, device, dtype)
        own = self.initial_state(*size)
        for place, attachment in self.attachments.items():
            assert isinstance(attachment, Attachment)
            own |= _prefixed(attachment.initial_state(*size), f"{_ATTENTION}{place}.")
        return _prefixed(own, _OWN)

    def keep(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        """:meth:`forward` on the cell's whole ``state``; its own part comes back, to be handed to :meth:`remember`."""
        own = _inside(state, _OWN)
        kept, new, carry = self(gate, c, x, own, carry)
        # In the order of before, because torch.compile guards on it.
        own = {**{name: new[name] for name in own if name in new}, **new}
        return kept, own, carry

    def update(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors, *, i: Tensor, g: Tensor
    ) -> tuple[Tensor, Tensors, Tensors]:
        """The new memory ``keep + s(i) . tanh(g)`` from the pre-activations ``i`` and ``g``; else as :meth:`keep`."""
        kept, own, carry = self.keep(gate, c, x, state, carry)
        return gated.added(kept, i, g), own, carry

    def remember(self, c_new: Tensor, own: Tensors) -> Tensors:
        """The transition's part of the cell's new state, once the new memory is known."""
        attention = {name: value for name, value in own.items() if name.startswith(_ATTENTION)}
        own = self.commit(c_new, {name: value for name, value in own.items() if name not in attention})
        return _prefixed({**own, **attention}, _OWN)

    def attach(self, attachments: Mapping[str, Attachment]) -> None:
        """Let attachments stand at places of this transition.

        Raises:
            ValueError: if there is no such place, or it is taken.
        """
        for place, attachment in attachments.items():
            if place not in self.places:
                known = ", ".join(self.places) or "none"
                raise ValueError(f"the transition has no place {place!r} to attach to; its places are {known}")
            if place in self.attachments:
                raise ValueError(f"the place {place!r} has an attachment already")
            self.attachments[place] = attachment

    def attended(self, place: str, signal: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """The signal at a place as it goes on, and what stands there remembers, to be put into the new state.

        Args:
            place: one of ``places``.
            signal: ``B C *grid``; it comes back as it is where nothing stands at the place.
            state: what the transition remembers.
        """
        if place not in self.attachments:
            return signal, {}
        prefix = f"{_ATTENTION}{place}."
        signal, kept = self.attachments[place](signal, _inside(state, prefix))
        return signal, _prefixed(kept, prefix)


def _prefixed(own: Tensors, prefix: str) -> Tensors:
    return {prefix + name: value for name, value in own.items()}


def _inside(state: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


class NormSite(NamedTuple):
    """What the target of a module for the slot ``norm`` is built from."""

    channels: int
    grid: tuple[int, ...] | None
    """Sizes of the axes after the channels (height and width; depth before them), None where they are not known."""
    device: torch.device | None = None
    dtype: torch.dtype | None = None


class TransitionSite(NamedTuple):
    """Where a transition stands: what its constructor needs."""

    in_channels: int
    """Channels of the cell's ``x``; 0: no input."""
    width: int
    """Channels of the memory ``c``."""
    carry_in: Mapping[str, int]
    """Channels of each carried register as it arrives at the cell."""
    grid: tuple[int, int] | None
    """Height and width after patching; None where they are not known."""
    norms: Any
    """As in :class:`CellSite`."""
    depth: int = 0
    """Slices of a ``B C D H W`` memory; 0: the memory is ``B C H W``."""
    device: torch.device | None = None
    dtype: torch.dtype | None = None


class HeadSite(NamedTuple):
    """Where a head stands: what the target of a module for the slot ``head`` is built from."""

    widths: tuple[int, ...]
    """Channels that each node of the stack hands up, bottom to top."""
    out_channels: int
    """Channels of the folded frame to make."""
    grid: tuple[int, int] | None
    """Height and width after patching; None where they are not known."""
    device: torch.device | None = None
    dtype: torch.dtype | None = None


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
    """The transition's factory ``(TransitionSite) -> Transition``, or None for the cell's own forget gate."""
    norms: Any
    """The norm factory ``(config, NormSite) -> nn.Module``, for the configuration of a module for the slot ``norm``."""
    device: torch.device | None = None
    dtype: torch.dtype | None = None

    def norm_factory(self, config: Any, *, depth: int = 0) -> NormFactory | None:
        """What :class:`stkit.cells.GateBlock` takes as ``norm``; None where ``config`` is None.

        Args:
            config: configuration of a module for the slot ``norm``, or None.
            depth: slices of ``B C D H W`` tensors; 0 for ``B C H W``.
        """
        if config is None:
            return None
        grid = self.grid if self.grid is None or not depth else (depth, *self.grid)
        return lambda channels: self.norms(config, NormSite(channels, grid, self.device, self.dtype))

    def build_transition(self, default: Transition, *, depth: int = 0) -> Transition:
        """The transition that the recipe names for this layer, or the cell's ``default``."""
        if self.transition is None:
            return default
        built: Transition = self.transition(
            TransitionSite(
                self.in_channels, self.width, self.carry_in, self.grid, self.norms, depth, self.device, self.dtype
            )
        )
        return built
