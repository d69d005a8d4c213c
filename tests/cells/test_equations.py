"""The cells against their papers' equations, written out in plain NumPy with channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stkit_convlstm.cell import ConvLSTM
from stkit_predrnn.cell import STLSTM
from torch import Tensor, nn

import stkit
from stkit.cells import GateBlock
from stkit.stacks import EncoderForecaster, Forecaster, NextFrame, Stack
from stkit.testing.strategies import grids, seeds, tensor

from ..oracles import convlstm, predrnn, translate
from ..oracles.convolution import Array, convolve
from ..oracles.translate import array, last

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-10}


def stirred(module: nn.Module) -> nn.Module:
    """Every parameter random, those that start at zero too."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


def numbers(seed: int, *shape: int) -> Tensor:
    return tensor(seed, *shape, dtype=torch.float64)


@settings(max_examples=12)
@given(
    seed=seeds(),
    grid=grids(2, 5),
    inputs=st.integers(0, 3),
    kernel=st.integers(1, 3),
    peephole=st.sampled_from(["channel", "pixel", "none"]),
    bias=st.booleans(),
)
def test_convlstm(seed: int, grid: tuple[int, int], inputs: int, kernel: int, peephole: Any, bias: bool) -> None:
    torch.manual_seed(seed)
    cell = ConvLSTM(inputs, 3, kernel=kernel, peephole=peephole, bias=bias, grid=grid, dtype=torch.float64)
    weights = translate.convlstm(stirred(cell))
    state = {"h": numbers(seed, 2, 3, *grid), "c": numbers(seed + 1, 2, 3, *grid)}
    h, c = last(state["h"]), last(state["c"])
    for t in range(2):
        x = numbers(seed + 2 + t, 2, inputs, *grid) if inputs else None
        out = cell.step(x, state, {})
        h, c = convlstm.step(weights, None if x is None else last(x), h, c)
        np.testing.assert_allclose(last(out.y), h, **CLOSE)
        np.testing.assert_allclose(last(out.state["c"]), c, **CLOSE)
        state = out.state


@pytest.mark.parametrize("horizon", [1, 3])
def test_encoder_forecaster(horizon: int) -> None:
    torch.manual_seed(horizon)
    cell = {"kernel": 3}
    forecaster = stkit.build("convlstm", layers=[3, 2], cell=cell, in_channels=2, dtype=torch.float64)
    network = forecaster.network
    assert isinstance(network, EncoderForecaster)
    stirred(forecaster)
    frames = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64)
    expected = convlstm.encode_and_forecast(
        [translate.convlstm(node) for node in network.encoder.nodes],
        [translate.convlstm(node) for node in network.forecaster.nodes],
        *head_of(forecaster),
        last(frames),
        horizon,
    )
    np.testing.assert_allclose(last(forecaster(frames, horizon)), expected, **CLOSE)


@settings(max_examples=8)
@given(
    seed=seeds(),
    grid=grids(2, 4),
    inputs=st.integers(1, 3),
    kernel=st.integers(1, 3),
    bias=st.booleans(),
    forget_bias=st.sampled_from([0.0, 1.0]),
)
def test_st_lstm(seed: int, grid: tuple[int, int], inputs: int, kernel: int, bias: bool, forget_bias: float) -> None:
    torch.manual_seed(seed)
    cell = STLSTM(inputs, 3, kernel=kernel, bias=bias, forget_bias=forget_bias, dtype=torch.float64)
    weights = translate.predrnn(stirred(cell))
    x, h, c, m = (numbers(seed + n, 2, channels, *grid) for n, channels in enumerate((inputs, 3, 3, 3)))
    out = cell.step(x, {"h": h, "c": c}, {"m": m})
    expected = predrnn.step(weights, last(x), last(h), last(c), last(m), forget_bias)
    for ours, theirs in zip((out.y, out.state["c"], out.carry["m"]), expected, strict=True):
        np.testing.assert_allclose(last(ours), theirs, **CLOSE)


def test_st_lstm_of_the_paper_with_its_norm() -> None:
    torch.manual_seed(3)
    forecaster = stkit.build(
        "predrnn", variant="paper", layers=[3, 3], cell={"kernel": 3}, in_channels=2, dtype=torch.float64
    )
    network = forecaster.network
    assert isinstance(network, NextFrame)
    cell = network.stack.nodes[0]
    assert isinstance(cell, STLSTM)
    stirred(cell)
    norms = {source: (array(norm.weight), array(norm.bias)) for source, norm in cell.gates.norms.items()}
    norm = cell.output.norms["memory"]
    norms["o"] = (array(norm.weight), array(norm.bias))
    x, h, c, m = (numbers(n, 2, channels, 4, 3) for n, channels in enumerate((2, 3, 3, 3)))
    out = cell.step(x, {"h": h, "c": c}, {"m": m})
    expected = predrnn.normed_step(translate.predrnn(cell), norms, last(x), last(h), last(c), last(m))
    for ours, theirs in zip((out.y, out.state["c"], out.carry["m"]), expected, strict=True):
        np.testing.assert_allclose(last(ours), theirs, **CLOSE)


@pytest.mark.parametrize(("steps", "horizon"), [(1, 1), (3, 1), (2, 3)])
def test_predrnn_runs_freely_with_its_memory_in_zigzag(steps: int, horizon: int) -> None:
    torch.manual_seed(steps)
    forecaster = stkit.build("predrnn", layers=[3, 3, 3], cell={"kernel": 3}, in_channels=2, dtype=torch.float64)
    network = forecaster.network
    assert isinstance(network, NextFrame)
    stirred(forecaster)
    frames = torch.randn(2, steps, 2, 3, 4, dtype=torch.float64)
    layers = [translate.predrnn(node) for node in network.stack.nodes]
    expected = predrnn.free_run(layers, head_of(forecaster)[0], last(frames), horizon, forget_bias=1.0)
    np.testing.assert_allclose(last(forecaster(frames, horizon)), expected, **CLOSE)


def test_the_increments_are_what_is_added_to_the_memories() -> None:
    torch.manual_seed(0)
    cell = STLSTM(2, 3, kernel=3, dtype=torch.float64)
    out = cell.step(
        torch.randn(1, 2, 4, 4, dtype=torch.float64),
        cell.initial_state(1, 4, 4, dtype=torch.float64),
        cell.initial_carry(1, 4, 4, dtype=torch.float64),
    )
    assert torch.equal(out.aux["delta_c"], out.state["c"])
    assert torch.equal(out.aux["delta_m"], out.carry["m"])


@pytest.mark.parametrize(
    ("widths", "kernel", "count"),
    [([256], 5, 13_524_496), ([128, 128], 5, 10_042_896), ([128, 64, 64], 5, 7_585_296)],
)
def test_parameter_counts_of_table_1(widths: list[int], kernel: int, count: int) -> None:
    """Shi et al. 2015, Table 1: the 5x5 networks on frames of 64 x 64 in patches of 4 x 4."""
    forecaster = stkit.build(
        "convlstm", variant="paper", layers=widths, cell={"kernel": kernel}, patch=4, device="meta"
    )
    assert sum(parameter.numel() for parameter in forecaster.parameters()) == count


def head_of(forecaster: Forecaster) -> tuple[Array, Array]:
    """Kernel and offset of the head."""
    block = forecaster.network.head.convolution
    assert isinstance(block, GateBlock)
    offset = block.bias_of("hidden")
    return translate.kernels(block, "hidden")["frame"], np.zeros(1) if offset is None else array(offset)


def test_the_oracle_convolves() -> None:
    """The oracle's own convolution, against torch's."""
    x, kernel = np.random.default_rng(0).normal(size=(2, 4, 5, 3)), np.random.default_rng(1).normal(size=(3, 5, 3, 2))
    ours = torch.nn.functional.conv2d(
        torch.from_numpy(x).movedim(-1, 1), torch.from_numpy(kernel).permute(3, 2, 0, 1), padding=(1, 2)
    )
    np.testing.assert_allclose(convolve(x, kernel), ours.movedim(1, -1).numpy(), **CLOSE)


def test_a_stack_of_one_layer_carries_its_own_memory() -> None:
    torch.manual_seed(0)
    stack = Stack([STLSTM(2, 3, kernel=3)])
    first = stack.step(torch.randn(1, 2, 4, 4), stack.initial_state(1, 4, 4))
    assert list(first.state.carry) == ["m"]
    assert first.state.carry["m"].abs().max() > 0
