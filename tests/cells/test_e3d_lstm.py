"""E3D-LSTM against its equations, written out in plain NumPy; and the faults of the released code and of its ports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stkit_e3d_lstm.cell import E3DLSTM
from stkit_e3d_lstm.head import Conv3dHead
from stkit_e3d_lstm.recall import Recall
from torch import Tensor, nn

import stkit
from stkit.cells import GateBlock
from stkit.errors import RecipeError
from stkit.modules.norm.norms import ChannelNorm
from stkit.stacks import Forecaster, NextFrame
from stkit.testing.strategies import tensor

from ..oracles import e3d_lstm as oracle
from ..oracles.convolution import Array
from ..oracles.translate import array

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-10}
WINDOW = {"width": 1, "cell": "frame_window"}


def stirred(module: nn.Module, std: float = 0.4) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module


def numbers(seed: int, *shape: int) -> Tensor:
    return tensor(seed, *shape, dtype=torch.float64)


def last(x: Tensor) -> Array:
    """``B C D H W -> B D H W C``."""
    return np.moveaxis(array(x), 1, -1)


def weights(cell: nn.Module) -> dict[str, Array]:
    """Our parameters under the oracle's names."""
    blocks = [cell.gates, cell.output, cell.fusion]
    named: dict[str, Array] = {}
    for block in blocks:
        assert isinstance(block, GateBlock)
        for source, kernel in block.kernels.items():
            gates = block.sources[source].gates
            bias = block.bias_of(source)
            for place, gate in enumerate(gates):
                name = "W1" if source == "memory" else name_of(source, gate)
                part = slice(place * block.width, (place + 1) * block.width)
                named[name] = array(kernel[part]).transpose(2, 3, 4, 1, 0)
                if bias is not None:
                    named[f"b{name}"] = array(bias[part])
        if block.bias is not None:
            for gate, value in zip(block.gates, block.bias, strict=True):
                named[f"b'{gate[0]}" if "'" in gate else f"b{gate}"] = array(value).ravel()
    return named


def name_of(source: str, gate: str) -> str:
    return f"W'{source}{gate[0]}" if source == "x" and "'" in gate else f"W{source}{gate[0]}"


def norms(cell: nn.Module) -> dict[str, oracle.Norm]:
    gates, transition = cell.gates, cell.transition
    assert isinstance(gates, GateBlock)
    assert isinstance(transition, Recall)
    found = {name: norm for name, norm in gates.norms.items() if isinstance(norm, ChannelNorm)}
    if isinstance(transition.norm, ChannelNorm):
        found["c"] = transition.norm
    return {name: (ordered(norm.weight, name), ordered(norm.bias, name), norm.eps) for name, norm in found.items()}


def ordered(values: Tensor, source: str) -> Array:
    """In the order of the oracle, whose response to M has g' before f'."""
    if source == "m":
        i, f, g, m = values.chunk(4)
        values = torch.cat([i, g, f, m])
    return array(values)


def small(variant: str, depth: int = 2, tau: int = 2, **cell: Any) -> Forecaster:
    forecaster = stkit.build(
        "e3d_lstm",
        variant=variant,
        in_channels=2,
        layers=[{"width": 1, "cell": {"name": "frame_window", "depth": depth}}, 3, 3],
        cell={"kernel": [2, 3, 3], "depth": depth, **cell},
        transition={"tau": tau},
        head={"depth": depth},
        dtype=torch.float64,
    )
    stirred(forecaster)
    return forecaster


@pytest.mark.parametrize("variant", ["standard", "paper"])
@pytest.mark.parametrize(("depth", "tau"), [(2, 2), (3, 1)])
def test_the_equations(variant: str, depth: int, tau: int) -> None:
    """A whole forecast: the window, two layers with the memory in zigzag, the recalled memories, the head."""
    torch.manual_seed(depth)
    forecaster = small(variant, depth, tau)
    network = forecaster.network
    assert isinstance(network, NextFrame)
    assert isinstance(network.head, Conv3dHead)
    nodes = list(network.stack.nodes)[1:]
    block = network.head.convolution
    frames = torch.randn(2, 3, 2, 3, 4, dtype=torch.float64)
    expected = oracle.free_run(
        [weights(node) for node in nodes],
        [norms(node) for node in nodes],
        array(block.kernels["hidden"])[:, :, 0, 0].reshape(2, 3, depth).transpose(2, 1, 0),  # O (C D) -> D C O
        array(block.biases["hidden"]),
        array(frames).transpose(0, 1, 3, 4, 2),
        2,
        tau,
        depth=depth,
        plain=variant == "paper",
        forget_bias=1.0 if variant == "standard" else 0.0,
    )
    np.testing.assert_allclose(array(forecaster(frames, 2)).transpose(0, 1, 3, 4, 2), expected, **CLOSE)


@pytest.mark.parametrize("steps", [2, 5])
def test_room_for_all_memories_gives_what_growing_memory_gives(steps: int) -> None:
    """The released code's list of memories grows; ours has a fixed size and sees only what is there."""
    torch.manual_seed(steps)
    cell = E3DLSTM(2, 3, kernel=(2, 3, 3), transition=Recall(3, tau=9, depth=2, start=True), dtype=torch.float64)
    stirred(cell)
    state, carry = cell.initial_state(2, 3, 4, dtype=torch.float64), cell.initial_carry(2, 3, 4, dtype=torch.float64)
    h, c, m = last(state["h"]), last(state["c"]), last(carry["m"])
    memories = [c]
    for t in range(steps):
        x = numbers(t, 2, 2, 2, 3, 4)
        out = cell.step(x, state, carry)
        h, c, m = oracle.step(weights(cell), last(x), h, c, m, memories, {}, plain=False, forget_bias=1.0)
        memories.append(c)
        state, carry = out.state, out.carry
        for name, value in (("h", h), ("c", c)):
            np.testing.assert_allclose(last(state[name]), value, **CLOSE)
        np.testing.assert_allclose(last(carry["m"]), m, **CLOSE)


def test_more_room_than_memories_changes_nothing() -> None:
    torch.manual_seed(0)
    small_room, large_room = small("official", tau=4), small("official", tau=11)
    large_room.load_state_dict(small_room.state_dict())
    frames = torch.randn(1, 2, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(large_room(frames, 2), small_room(frames, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("variant", "learns"), [("standard", True), ("paper", True), ("official", False)])
def test_the_memory_is_updated_and_its_kernels_learn(variant: str, learns: bool) -> None:
    """The released code hands on the memory that came in: it stays zero, and its kernels get no gradient."""
    torch.manual_seed(1)
    forecaster = small(variant, tau=4)
    network = forecaster.network
    assert isinstance(network, NextFrame)
    frames = torch.randn(1, 4, 2, 4, 5, dtype=torch.float64)
    stream = forecaster.warm(frames)
    memory = stream.rollout.stacks[0].carry["m"]
    assert bool(memory.abs().max() > 0) is learns
    forecaster(frames, 2).square().sum().backward()
    for name, parameter in forecaster.named_parameters():
        assert parameter.grad is not None
        alive = bool(parameter.grad.abs().max() > 0)
        assert alive is (learns or not name.endswith("gates.kernels.m")), name


def test_slices_differ() -> None:
    """A port convolves two slices into one and copies it back: then all slices are the same."""
    torch.manual_seed(2)
    cell = E3DLSTM(2, 3, dtype=torch.float64)
    x = torch.randn(1, 2, 2, 4, 5, dtype=torch.float64)
    start = (1, 4, 5, None, torch.float64)
    h = cell.step(x, cell.initial_state(*start), cell.initial_carry(*start)).y
    assert not torch.allclose(h[:, :, 0], h[:, :, 1])


def test_the_window_moves_and_starts_with_zeros() -> None:
    forecaster = stkit.build("e3d_lstm", layers=[WINDOW, 2], cell={"kernel": [1, 1, 1]}, patch=1)
    network = forecaster.network
    assert isinstance(network, NextFrame)
    frames = torch.arange(1.0, 4.0).reshape(1, 3, 1, 1, 1)
    state = forecaster.warm(frames[:, :1]).rollout.stacks[0].nodes[0]["frames"]
    assert state.flatten().tolist() == [0, 1]
    state = forecaster.warm(frames).rollout.stacks[0].nodes[0]["frames"]
    assert state.flatten().tolist() == [2, 3]


def test_a_stack_without_a_window_is_told() -> None:
    with pytest.raises(RecipeError, match=r"layer 1 \(e3d_lstm\) takes B C 2 H W, but frames are B C H W"):
        stkit.build("e3d_lstm", layers=[4, 4])
    cell = E3DLSTM(1, 4)
    with pytest.raises(ValueError, match="the bottom layer of its stack is a frame_window of depth 2"):
        cell.step(torch.zeros(1, 1, 4, 4), cell.initial_state(1, 4, 4), cell.initial_carry(1, 4, 4))


def test_a_head_of_another_depth_is_told() -> None:
    with pytest.raises(RecipeError, match=r"reads B C 3 H W, but layer 2 \(e3d_lstm\) hands up B C 2 H W"):
        stkit.build("e3d_lstm", layers=[WINDOW, 4], head={"depth": 3})
    with pytest.raises(ValueError, match="depths of frame_window, e3d_lstm and conv3d"):
        Conv3dHead(4, 1, depth=3)((torch.zeros(1, 4, 2, 4, 4),))
