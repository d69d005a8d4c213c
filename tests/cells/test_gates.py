"""The gate block: a sum over sources of convolutions, for any engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from stkit_predrnn.cell import STLSTM
from torch import Tensor, nn

from stkit.cells import Direct, Engine, GateBlock, Source, sequence, use_engine
from stkit.modules.norm.norms import ChannelNorm
from stkit.stacks import Stack
from stkit.testing.strategies import grids, seeds, tensor

from ..oracles.convolution import convolve
from ..oracles.translate import biases, kernels, last


@given(
    seed=seeds(),
    grid=grids(1, 5),
    kernel=st.integers(1, 4),
    channels=st.integers(1, 3),
    bias=st.sampled_from(["none", "gate", "source"]),
)
def test_a_gate_is_the_sum_over_its_sources(
    seed: int, grid: tuple[int, int], kernel: int, channels: int, bias: str
) -> None:
    torch.manual_seed(seed)
    block = GateBlock(
        2,
        {"x": Source.of(channels, "i f o"), "h": Source.of(2, "f i")},
        kernel=kernel,
        bias=bias,
        dtype=torch.float64,
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x, h = (tensor(seed + n, 2, c, *grid, dtype=torch.float64) for n, c in enumerate((channels, 2)))
    gates = block(x=x, h=h)
    assert list(gates) == ["i", "f", "o"]
    from_x, from_h, offset = kernels(block, "x"), kernels(block, "h"), biases(block)
    for gate, ours in gates.items():
        expected = convolve(last(x), from_x[gate]) + offset.get(gate, np.zeros(1))
        if gate in from_h:
            expected = expected + convolve(last(h), from_h[gate])
        for source in block.sources if bias == "source" else ():
            place = block.sources[source].gates
            if gate in place:
                start = 2 * place.index(gate)
                expected = expected + block.biases[source].detach().numpy()[start : start + 2]
        np.testing.assert_allclose(last(ours), expected, rtol=0, atol=1e-10)


@given(seed=seeds(), depth=st.integers(1, 4), grid=grids(1, 5))
def test_volumes_are_padded_before_less_than_after(seed: int, depth: int, grid: tuple[int, int]) -> None:
    """An even kernel sees ``(k-1)//2`` before and ``k//2`` after, as in TensorFlow."""
    block = GateBlock(2, {"x": Source.of(3, "i")}, kernel=(2, 3, 4), dtype=torch.float64)
    x = tensor(seed, 2, 3, depth, *grid, dtype=torch.float64)
    padded = F.pad(x, (1, 2, 1, 1, 0, 1))
    torch.testing.assert_close(block(x=x)["i"], F.conv3d(padded, block.kernels["x"]), rtol=0, atol=1e-12)


def test_a_tuple_counts_as_concatenated() -> None:
    block = GateBlock(2, {"memory": Source.of(5, "o")}, kernel=3, bias="source", dtype=torch.float64)
    c, m = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 2, 4, 5, dtype=torch.float64)
    expected = block(memory=torch.cat([c, m], 1))["o"]
    torch.testing.assert_close(block(memory=(c, m))["o"], expected, rtol=1e-13, atol=1e-14)


def test_a_source_without_channels_is_left_out() -> None:
    block = GateBlock(2, {"x": Source.of(0, "i f"), "h": Source.of(2, "i f")}, kernel=3)
    assert list(block.sources) == ["h"]
    assert set(block(x=None, h=torch.randn(1, 2, 4, 4))) == {"i", "f"}


def test_the_norm_acts_on_each_source_before_the_sum() -> None:
    torch.manual_seed(0)
    sources = {"x": Source.of(3, "i f"), "h": Source.of(2, "i f")}
    block = GateBlock(2, sources, kernel=3, norm=lambda channels: ChannelNorm(1, channels))
    x, h = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5)
    responses = [F.conv2d(v, block.kernels[name], padding=1) for name, v in (("x", x), ("h", h))]
    i, f = sum(F.group_norm(response, 1) for response in responses).chunk(2, 1)
    gates = block(x=x, h=h)
    torch.testing.assert_close(gates["i"], i)
    torch.testing.assert_close(gates["f"], f)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a source"):
        GateBlock(2, {"x": Source.of(0, "i")}, kernel=3)
    with pytest.raises(ValueError, match="names a gate twice: i f i"):
        GateBlock(2, {"x": Source.of(2, "i f i")}, kernel=3)
    block = GateBlock(2, {"x": Source.of(3, "i"), "h": Source.of(2, "i")}, kernel=3)
    with pytest.raises(ValueError, match="sources x, h was given x"):
        block(x=torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="source 'x' has 3 channels, received 2"):
        block(x=torch.zeros(1, 2, 4, 4), h=torch.zeros(1, 2, 4, 4))


class Fused(Engine):
    """One convolution for all sources at once: another way to the same numbers."""

    def __init__(self) -> None:
        self.calls = 0
        self.spans = 0

    @contextmanager
    def sequence(self) -> Iterator[None]:
        self.spans += 1
        yield

    def __call__(self, block: GateBlock, inputs: Mapping[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        self.calls += 1
        rows = []
        for gate in block.gates:
            parts = []
            for name, source in block.sources.items():
                kernel = block.kernels[name]
                at = source.gates.index(gate) * block.width if gate in source.gates else None
                own = kernel[at : at + block.width] if at is not None else torch.zeros_like(kernel[: block.width])
                parts.append(own)
            rows.append(torch.cat(parts, 1))
        signal = torch.cat([part for name in block.sources for part in inputs[name]], 1)
        response = F.conv2d(signal, torch.cat(rows), padding=rows[0].shape[-1] // 2)
        return dict(zip(block.gates, response.split(block.width, 1), strict=True))


def test_an_engine_serves_every_cell_of_a_model_without_changing_its_parameters() -> None:
    torch.manual_seed(0)
    stack = Stack([STLSTM(3, 4, kernel=3, bias=True, dtype=torch.float64), STLSTM(4, 4, kernel=3, dtype=torch.float64)])
    names = list(stack.state_dict())
    x, state = torch.randn(2, 3, 5, 6, dtype=torch.float64), stack.initial_state(2, 5, 6, dtype=torch.float64)
    direct = stack.step(x, stack.step(x, state).state)

    engine = Fused()
    use_engine(stack, engine)
    with sequence(stack):
        fused = stack.step(x, stack.step(x, state).state)
    assert list(stack.state_dict()) == names
    assert engine.calls == 2 * 2 * 3
    assert engine.spans == 1
    torch.testing.assert_close(fused.y, direct.y, rtol=0, atol=1e-12)
    torch.testing.assert_close(fused.state.carry["m"], direct.state.carry["m"], rtol=0, atol=1e-12)

    use_engine(stack, Direct())
    assert torch.equal(stack.step(x, stack.step(x, state).state).y, direct.y)


def test_a_kernel_of_several_tensors_is_cut_once_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    from stkit.cells import engine

    cuts: list[tuple[int, ...]] = []
    original = engine._cut
    monkeypatch.setattr(engine, "_cut", lambda kernel, widths: (cuts.append(widths), original(kernel, widths))[1])
    block = GateBlock(3, {"memory": Source.of(4, "o")}, kernel=3)
    block.engine = Direct()
    one, other = torch.randn(2, 1, 2, 4, 4).unbind()

    def together() -> torch.Tensor:
        return torch.nn.functional.conv2d(torch.cat([one, other], dim=1), block.kernels["memory"], padding=1)

    with sequence(block):
        for _ in range(3):
            torch.testing.assert_close(block(memory=(one, other))["o"], together())
        assert cuts == [(2, 2)]
        with torch.no_grad():
            block.kernels["memory"].mul_(2)
        found = block(memory=(one, other))["o"]
        torch.testing.assert_close(found, together())  # not the kernel from before
        assert len(cuts) == 2
    ours = torch.autograd.grad(found.square().sum(), block.kernels["memory"])
    torch.testing.assert_close(ours, torch.autograd.grad(together().square().sum(), block.kernels["memory"]))
    assert isinstance(block.engine, Direct)
    assert not block.engine._own
