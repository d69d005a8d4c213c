"""A stack of nodes: a signal rises, states stay, registers return.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width (in patches).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells import elapsed, observe
from stkit.cells.base import Cell, Tensors
from stkit.plugin.config import CarryPort, axes
from stkit.stacks import recompute


class StackState(NamedTuple):
    """Everything a stack remembers between two steps. The keys are the same at every step."""

    nodes: tuple[Tensors, ...]
    """Each node's own state, bottom to top."""
    carry: Tensors
    """The registers that return from the top node to the bottom one."""
    steps: int | None = 0
    """How many steps have been taken since the initial state, for cells that ask :mod:`stkit.cells.elapsed`; None: not
    known, after a step that was compiled, because one graph serves all steps."""


class StackOut(NamedTuple):
    """What one step of a stack gives."""

    y: Tensor
    """What the top node hands up."""
    ys: tuple[Tensor, ...]
    """What every node hands up, bottom to top."""
    state: StackState
    aux: tuple[Tensors, ...]
    """Every node's by-products, bottom to top."""


class Stack(nn.Module):
    """Nodes on top of each other.

    Within a step the registers rise from node to node. After the top node those return to the bottom that some node
    reads before any node below it has written them (``m`` of PredRNN); the others live for one step only (MIM's ``D``).

    Args:
        nodes: bottom to top.

    Raises:
        ValueError: if a node does not fit the one below it, or reads a register with other channels than arrive.
    """

    def __init__(self, nodes: Sequence[Cell]) -> None:
        super().__init__()
        if not nodes:
            raise ValueError("a stack needs at least one node")
        for place, (below, node) in enumerate(itertools.pairwise(nodes), start=2):
            if node.in_channels != below.out_channels:
                raise ValueError(
                    f"node {place} takes {node.in_channels} channels, "
                    f"but node {place - 1} hands up {below.out_channels}"
                )
            if node.input_depth != below.output_depth:
                raise ValueError(
                    f"node {place} takes {axes(node.input_depth)}, but node {place - 1} hands up "
                    f"{axes(below.output_depth)}"
                )
        self.nodes = nn.ModuleList(nodes)
        self.returning = _check_carry(nodes)

    @property
    def in_channels(self) -> int:
        """Channels of the bottom node's input; 0: it takes none."""
        return self._node(0).in_channels

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that each node hands up, bottom to top."""
        return tuple(self._node(place).out_channels for place in range(len(self.nodes)))

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StackState:
        """Zeros. ``height`` and ``width`` are those of the nodes' tensors, in patches."""
        nodes = tuple(
            self._node(place).initial_state(batch, height, width, device, dtype) for place in range(len(self.nodes))
        )
        carry = {
            name: self._node(place).initial_carry(batch, height, width, device, dtype)[name]
            for name, place in self.returning.items()
        }
        return StackState(nodes, carry)

    def step(self, x: Tensor | None, state: StackState) -> StackOut:
        """One time step: ``x`` is ``B C H W``, or None where the bottom node takes no input."""
        signal, carry = x, state.carry
        states: list[Tensors] = []
        ys: list[Tensor] = []
        aux: list[Tensors] = []
        steps = None if torch.compiler.is_dynamo_compiling() else state.steps
        with elapsed.after(steps):
            for place, own in enumerate(state.nodes):
                out = recompute.layer(self._node(place).step, signal, own, carry)
                signal, carry = out.y, out.carry
                states.append(out.state)
                ys.append(out.y)
                aux.append(out.aux)
        returned = {name: carry[name] for name in self.returning}
        later = None if steps is None else steps + 1
        stepped = StackOut(ys[-1], tuple(ys), StackState(tuple(states), returned, later), tuple(aux))
        observe.step(self, stepped)
        return stepped

    def _node(self, place: int) -> Cell:
        node = self.nodes[place]
        assert isinstance(node, Cell)
        return node


def _check_carry(nodes: Sequence[Cell]) -> dict[str, int]:
    """The registers that return, each with the place of the node that reads it first."""
    returning: dict[str, int] = {}
    written: dict[str, tuple[int, CarryPort]] = {}  # register -> place of the last writer so far, its port
    for place, node in enumerate(nodes):
        for name, port in node.carry_spec.items():
            if name in written:
                _check_fit(name, place, port, *written[name], returns=False)
            elif port.reads != 0 and not port.optional:
                returning.setdefault(name, place)
        written.update({name: (place, port) for name, port in node.carry_spec.items() if port.writes})
    for name, place in returning.items():
        if name not in written:
            raise ValueError(f"node {place + 1} reads the register {name!r}, which no node writes")
        if nodes[place].carry_spec[name].reads is None:
            raise ValueError(
                f"node {place + 1} reads the register {name!r} first and must say how many channels it has"
            )
        for later, node in enumerate(nodes):
            if name not in node.carry_spec:
                continue
            _check_fit(name, later, node.carry_spec[name], *written[name], returns=True)
            if node.carry_spec[name].writes:
                break
    return returning


def _check_fit(name: str, place: int, reader: CarryPort, writer: int, written: CarryPort, *, returns: bool) -> None:
    way = f"returns from node {writer + 1} at the next step" if returns else f"rises from node {writer + 1}"
    if reader.reads not in (None, 0, written.writes):
        raise ValueError(
            f"the register {name!r} {way} with {written.writes} channels, but node {place + 1} reads {reader.reads}"
        )
    if reader.reads != 0 and reader.depth != written.depth:
        raise ValueError(
            f"the register {name!r} {way} as {axes(written.depth)}, but node {place + 1} reads {axes(reader.depth)}"
        )
