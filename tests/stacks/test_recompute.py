"""Computing pieces of a rollout again: the same numbers and gradients; and gradients that stop on their way back."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import stkit
from stkit.cells import Cell, GateBlock, StepOut, Tensors, Winograd, observe
from stkit.plugin.config import CarryPort
from stkit.stacks import Forecaster, NextFrame, RolloutOut, Stack
from stkit.stacks.engine import set_engine
from stkit.stacks.recompute import LEVELS
from stkit.testing.strategies import grids, seeds, tensor

F64 = torch.float64
ANEW = [level for level in LEVELS if level != "none"]
KINDS: dict[str, dict[str, Any]] = {
    "convlstm": {"name": "convlstm", "layers": [3, 2]},
    "predrnn": {"name": "predrnn", "layers": [3, 3]},
    "predrnn with attention": {
        "name": "predrnn",
        "layers": [3, 3],
        "attention": {"h": {"name": "self_attention", "heads": 1}},
    },
    "predrnnpp": {"name": "predrnnpp", "layers": [3, {"width": 3, "cell": "ghu"}, 2]},
    "mim": {"name": "mim", "layers": [3, 3]},
    "mim, levels taken away": {"name": "mim", "layers": [3, 3], "nonstationary": {"name": "reversible_norm"}},
    "e3d_lstm": {"name": "e3d_lstm", "layers": [{"width": 1, "cell": "frame_window"}, 2, 2]},
}


def built(kind: str, **more: Any) -> Forecaster:
    torch.manual_seed(1)
    return stkit.build(**KINDS[kind], in_channels=1, patch=2, dtype=F64, **more)


def gradients(forecaster: Forecaster, frames: Tensor, **options: Any) -> tuple[RolloutOut, list[Tensor | None]]:
    """Of a loss that reads the forecasts and every by-product."""
    frames = frames.requires_grad_()
    out = forecaster.rollout(frames, 2, **options)
    loss = out.predictions.square().mean()
    for step in out.aux:
        for node in step:
            loss = loss + sum(value.square().mean() for value in node.values())
    leaves = [frames, *forecaster.parameters()]
    return out, list(torch.autograd.grad(loss, leaves, allow_unused=True))


def same(ours: list[Tensor | None], theirs: list[Tensor | None]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * float(other.abs().max()))


@pytest.mark.parametrize("engine", ["direct", "winograd"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_and_gradients_are_those_of_keeping_everything(kind: str, engine: Any) -> None:
    forecaster = built(kind)
    set_engine(forecaster, engine if kind != "e3d_lstm" else "direct")
    frames = tensor(2, 2, 5, 1, 6, 8, dtype=F64)
    valid = torch.ones(2, 5, 1, 6, 8, dtype=torch.bool)
    valid[:, :, :, :2, :4] = False
    tokens = None if kind == "convlstm" else torch.tensor([[True, False, True], [False, True, False]])
    given_ = {"valid": valid, "tokens": tokens}
    plain, expected = gradients(forecaster, frames, **given_)
    for level in ANEW:
        out, found = gradients(forecaster, frames, recompute=level, **given_)
        assert torch.equal(out.predictions, plain.predictions)
        same(found, expected)


class Forgetful(Cell):
    """Drops a random half of what it was given, and adds what it remembers."""

    carry_spec: Mapping[str, CarryPort] = {}

    def __init__(self) -> None:
        super().__init__()
        self.in_channels = self.out_channels = 1
        self.weight = nn.Parameter(torch.tensor(0.7, dtype=F64))

    def initial_state(self, batch: int, height: int, width: int, device: Any = None, dtype: Any = None) -> Tensors:
        return {"h": torch.zeros(batch, 1, height, width, device=device, dtype=dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        assert x is not None
        h = torch.tanh(self.weight * state["h"] + nn.functional.dropout(x, 0.5))
        return StepOut(h, {"h": h}, carry, {"hidden": h})


class Scalar(Cell):
    """``h = w h' + x``."""

    carry_spec: Mapping[str, CarryPort] = {}

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.in_channels = self.out_channels = 1
        self.weight = nn.Parameter(torch.tensor(weight, dtype=F64))

    def initial_state(self, batch: int, height: int, width: int, device: Any = None, dtype: Any = None) -> Tensors:
        return {"h": torch.zeros(batch, 1, height, width, device=device, dtype=dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        assert x is not None
        h = self.weight * state["h"] + x
        return StepOut(h, {"h": h}, carry, {})


class Top(nn.Module):
    def forward(self, hidden: tuple[Tensor, ...]) -> Tensor:
        return hidden[-1]


def of_cells(*cells: Cell) -> Forecaster:
    return Forecaster(NextFrame(Stack(cells), Top()), in_channels=1, out_channels=1)


@pytest.mark.parametrize("level", ANEW)
def test_random_numbers_are_drawn_as_before(level: Any) -> None:
    forecaster = of_cells(Forgetful(), Forgetful())
    frames = tensor(3, 1, 6, 1, 4, 4, dtype=F64)
    torch.manual_seed(4)
    plain, expected = gradients(forecaster, frames)
    after = torch.rand(3)
    torch.manual_seed(4)
    out, found = gradients(forecaster, frames, recompute=level)
    assert torch.equal(torch.rand(3), after)
    assert torch.equal(out.predictions, plain.predictions)
    same(found, expected)


@pytest.mark.parametrize("level", ANEW)
def test_an_observer_sees_each_step_once(level: Any) -> None:
    class Steps(observe.Observer):
        def __init__(self) -> None:
            self.steps = self.gates = 0

        def step(self, stack: Any, out: Any) -> None:
            self.steps += 1

        def gate(self, module: Any, memory: str, kept: Tensor) -> None:
            self.gates += 1

    seen = {}
    for chosen in ("none", level):
        seen[chosen] = Steps()
        with observe.watch(seen[chosen]):
            gradients(built("predrnn"), tensor(2, 1, 4, 1, 4, 4, dtype=F64), recompute=chosen)
    assert seen["none"].steps == seen[level].steps == 3
    assert seen["none"].gates == seen[level].gates > 0


@pytest.mark.parametrize("level", ANEW)
def test_nothing_is_left_of_a_sequence(level: Any) -> None:
    forecaster = built("predrnn", engine="winograd")
    (engine,) = {part.engine for part in forecaster.modules() if isinstance(part, GateBlock)}
    assert isinstance(engine, Winograd)
    out = forecaster.rollout(tensor(2, 2, 6, 1, 8, 8, dtype=F64), 2, recompute=level)
    out.predictions.square().mean().backward()
    assert not engine._own
    assert not len(engine._signals)
    gone = weakref.ref(out.predictions)
    out = None
    assert gone() is None


def test_kernels_are_mapped_once_a_sequence_unless_even_they_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from stkit.cells.tiles import Tiles

    mapped = []
    original = Tiles.kernel
    monkeypatch.setattr(Tiles, "kernel", lambda self, kernel: (mapped.append(kernel), original(self, kernel))[1])
    counts = {}
    for level in LEVELS:
        mapped.clear()
        gradients(built("predrnn", engine="winograd"), tensor(2, 1, 5, 1, 4, 4, dtype=F64), recompute=level)
        counts[level] = len(mapped)
    assert counts["none"] == counts["layer"] == counts["step"]
    assert counts["everything"] == 3 * 4 * counts["none"]  # forward, again, and for the gradient, at each of four steps


def test_nothing_is_computed_again_without_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    from stkit.stacks import recompute

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(recompute, "checkpoint", refused)
    with torch.no_grad():
        built("predrnn").rollout(tensor(2, 1, 4, 1, 4, 4, dtype=F64), 2, recompute="step")


@given(
    weight=st.floats(-0.9, 0.9),
    steps=st.integers(3, 8),
    truncate=st.integers(1, 8),
    context=st.integers(1, 2),
    level=st.sampled_from(LEVELS),
    seed=seeds(),
)
@settings(max_examples=40)
def test_a_truncated_gradient_is_that_of_its_definition(
    weight: float, steps: int, truncate: int, context: int, level: Any, seed: int
) -> None:
    """For ``h_t = w h_(t-1) + x_t`` with forecasts fed back: the derivative by hand, set to zero where it is cut."""
    frames = tensor(seed, 1, steps, 1, 1, 1, dtype=F64)
    forecaster = of_cells(Scalar(weight))
    out = forecaster.rollout(frames, context, truncate=truncate, recompute=level)
    out.predictions.square().sum().backward()

    values = frames.flatten().numpy()
    h = slope = total = 0.0
    forecasts = []
    for t in range(steps - 1):
        if t and t % truncate == 0:
            slope = 0.0
        x, of_x = (values[t], 0.0) if t < context else (h, slope)
        h, slope = weight * h + x, h + weight * slope + of_x
        forecasts.append(h)
        total += 2 * h * slope
    np.testing.assert_allclose(out.predictions.detach().flatten().numpy(), forecasts, rtol=1e-10, atol=1e-12)
    (cell,) = (part for part in forecaster.modules() if isinstance(part, Scalar))
    assert cell.weight.grad is not None
    np.testing.assert_allclose(cell.weight.grad.item(), total, rtol=1e-9, atol=1e-9)


@given(grid=grids(4, 9), truncate=st.integers(1, 3), seed=seeds())
@settings(max_examples=10)
def test_a_truncated_gradient_is_that_of_streams_that_begin_anew(
    grid: tuple[int, int], truncate: int, seed: int
) -> None:
    """Against a loop over the stack itself that gives every span a state without a past."""
    forecaster = built("predrnn")
    frames = tensor(seed, 1, 5, 1, *grid, dtype=F64)
    tokens = torch.ones(1, 3, dtype=torch.bool)
    out = forecaster.rollout(frames, 2, tokens=tokens, truncate=truncate)
    found = torch.autograd.grad(out.predictions.square().sum(), list(forecaster.parameters()))

    expected = [torch.zeros_like(parameter) for parameter in forecaster.parameters()]
    with torch.no_grad():
        streams = [forecaster.warm(frames[:, : t + 1]) for t in range(4)]
    for first in range(0, 4, truncate):
        loss = torch.zeros((), dtype=F64)
        stream = None if first == 0 else streams[first - 1]
        for t in range(first, min(first + truncate, 4)):
            stream = forecaster.warm(frames[:, :1]) if stream is None else forecaster.step(frames[:, t], stream)[1]
            loss = loss + stream.forecast.square().sum()
        for total, part in zip(expected, torch.autograd.grad(loss, list(forecaster.parameters())), strict=True):
            total += part
    same(list(found), list(expected))


def test_a_gradient_that_goes_back_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 step, received 0"):
        built("predrnn").rollout(tensor(2, 1, 4, 1, 4, 4, dtype=F64), 2, truncate=0)
