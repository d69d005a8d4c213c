"""PredRNN++ and MIM as printed against their equations, written out in plain NumPy with channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import stkit
from stkit.cells import Cell, GateBlock
from stkit.stacks import NextFrame, Stack

from ..oracles import mim, predrnn, predrnnpp
from ..oracles.convolution import Array
from ..oracles.mim import Memories, Part
from ..oracles.translate import array, biases, kernels, last

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-10}
GRID = (3, 4)
FRAMES = torch.randn(2, 4, 2, *GRID, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

Names = tuple[tuple[str, str, str], ...]
"""For each convolution: our block, our source, and the oracle's name of the source."""
CAUSAL: Names = (
    ("arriving", "x", "x"),
    ("arriving", "h", "h"),
    ("arriving", "c", "c"),
    ("arriving", "m", "m"),
    ("temporal", "c", "C"),
    ("spatial", "m", "M"),
    ("cascaded", "m", "w3"),
    ("reduced", "memories", "CM"),
)
ST_LSTM: Names = (
    ("gates", "x", "x"),
    ("gates", "h", "h"),
    ("gates", "m", "m"),
    ("output", "memory", "CM"),
    ("fusion", "memory", "W1"),
)
HIGHWAY: Names = (("gates", "x", "x"), ("gates", "z", "z"))
MIM_N: Names = (("gates", "signal", "x"), ("gates", "returning", "n"), ("output", "memory", "N"))
MIM_S: Names = (("gates", "signal", "d"), ("gates", "returning", "c"), ("output", "memory", "S"))


def part(module: nn.Module, names: Names) -> Part:
    """A module's parameters under the oracle's names."""
    weights: dict[tuple[str, str], Array] = {}
    offsets: dict[str, Array] = {}
    norms: dict[str, tuple[Array, Array]] = {}
    for place, source, name in names:
        block = module.get_submodule(place)
        assert isinstance(block, GateBlock)
        weights |= {(name, gate): value for gate, value in kernels(block, source).items()}
        offsets |= biases(block)
        norm = block.norms[source]
        if not isinstance(norm, nn.Identity):
            norms[name] = (array(norm.weight), array(norm.bias))
    return Part(weights, offsets, norms)


def network(name: str, norm: str | None, layers: list[Any], **values: Any) -> Stack:
    """The stack of a variant ``paper``, every parameter random."""
    torch.manual_seed(len(layers))
    cell = {"kernel": 3, "norm": norm}
    forecaster = stkit.build(
        name, variant="paper", in_channels=2, layers=layers, cell=cell, dtype=torch.float64, **values
    )
    for parameter in forecaster.parameters():
        nn.init.normal_(parameter, std=0.4)
    assert isinstance(forecaster.network, NextFrame)
    return forecaster.network.stack


def nodes(stack: Stack) -> list[Cell]:
    return [node for node in stack.nodes if isinstance(node, Cell)]


def zeros(width: int) -> Array:
    return np.zeros((2, *GRID, width))


def compare(ours: Tensor, theirs: Array) -> None:
    np.testing.assert_allclose(last(ours), theirs, **CLOSE)


@pytest.mark.parametrize("norm", [None, "channel"])
def test_predrnnpp(norm: str | None) -> None:
    """Three Causal LSTMs of different widths, the highway above the first, the memory in zigzag."""
    highway = {"width": 4, "cell": {"name": "ghu", "kernel": 3, "bias": True, "norm": norm}}
    stack = network("predrnnpp", norm, [3, highway, 2, 3])
    cells = nodes(stack)
    parts = [part(cell, HIGHWAY if place == 1 else CAUSAL) for place, cell in enumerate(cells)]
    kept = [zeros(cell.out_channels) for cell in cells]
    memories = [zeros(cell.out_channels) for cell in cells]
    m = zeros(3)
    state = stack.initial_state(2, *GRID, dtype=torch.float64)
    for t in range(FRAMES.shape[1]):
        out = stack.step(FRAMES[:, t], state)
        state, x = out.state, last(FRAMES[:, t])
        for place, own in enumerate(parts):
            if place == 1:
                x = kept[place] = predrnnpp.highway_step(*own, x, kept[place])
            else:
                x, memories[place], m = predrnnpp.causal_step(*own, x, kept[place], memories[place], m)
                kept[place] = x
                compare(state.nodes[place]["c"], memories[place])
            compare(out.ys[place], x)
        compare(state.carry["m"], m)


@pytest.mark.parametrize("norm", [None, "channel"])
@pytest.mark.parametrize("name", ["mim", "mim_star"])
def test_mim(name: str, norm: str | None) -> None:
    """Layer 1 without MIM, two layers with it; each differences its own input, and D is zero at the first step."""
    stack = network(name, norm, [3, 3, 3], transition={"layers": [2, 3], "kernel": 3, "norm": norm})
    cells = nodes(stack)
    parts = [part(cell, ST_LSTM if name == "mim" else CAUSAL) for cell in cells]
    units = [(part(c.transition.mim_n, MIM_N), part(c.transition.mim_s, MIM_S)) for c in cells[1:]]
    kept = [Memories(*(zeros(3) for _ in range(4))) for _ in cells]
    before: list[Array | None] = [None] * len(cells)
    m = zeros(3)
    state = stack.initial_state(2, *GRID, dtype=torch.float64)
    step = mim.st_lstm_step if name == "mim" else mim.causal_step
    for t in range(FRAMES.shape[1]):
        out = stack.step(FRAMES[:, t], state)
        state, x = out.state, last(FRAMES[:, t])
        for place, own in enumerate(parts):
            if place:
                kept[place], m, before[place] = *step(own, *units[place - 1], x, before[place], kept[place], m), x
            else:
                h, c, m = bottom(name, own, x, kept[0], m)
                kept[0] = kept[0]._replace(h=h, c=c)
            x = kept[place].h
            compare(out.ys[place], x)
            compare(state.nodes[place]["c"], kept[place].c)
            if place:
                compare(state.nodes[place]["transition.N"], kept[place].n)
                compare(state.nodes[place]["transition.S"], kept[place].s)
        compare(state.carry["m"], m)


def bottom(name: str, own: Part, x: Array, old: Memories, m: Array) -> tuple[Array, Array, Array]:
    """The first layer, which has its forget gate."""
    if name == "mim_star":
        return predrnnpp.causal_step(*own, x, old.h, old.c, m)
    if own.norms:
        return predrnn.normed_step(_predrnn(own), {**own.norms, "o": own.norms["CM"]}, x, old.h, old.c, m)
    return predrnn.step(_predrnn(own), x, old.h, old.c, m)


def _predrnn(own: Part) -> dict[str, Array]:
    """The same weights under the names of PredRNN's oracle."""
    named = {f"Wx'{gate[0]}" if gate.endswith("'") else f"Wx{gate}": w for (s, gate), w in own.p.items() if s == "x"}
    named |= {f"W{s}{gate[0]}": w for (s, gate), w in own.p.items() if s in ("h", "m")}
    named |= {f"b'{gate[0]}" if gate.endswith("'") else f"b{gate}": value for gate, value in own.b.items()}
    named["Wco"], named["Wmo"] = np.split(own.p["CM", "o"], 2, axis=2)
    return {**named, "W1": own.p["W1", "h"]}


def test_the_increments_are_what_is_added_to_the_memories() -> None:
    cell = nodes(network("predrnnpp", None, [3]))[0]
    state = cell.initial_state(2, *GRID, dtype=torch.float64)
    carry = cell.initial_carry(2, *GRID, dtype=torch.float64)
    assert cell.step(FRAMES[:, 0], state, carry).aux == {}
    cell.hands_out_increments = True
    out = cell.step(FRAMES[:, 0], state, carry)
    assert torch.equal(out.aux["delta_c"], out.state["c"])
    assert torch.equal(out.aux["delta_m"], out.carry["m"])
