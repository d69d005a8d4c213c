"""Faults that implementations of these papers are known for; none of them here, in any variant."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import stkit
from stkit.plugin.manager import plugins
from stkit.stacks import Forecaster

F64 = torch.float64
NAMES = ("convlstm", "predrnn", "predrnnpp", "mim", "mim_star", "e3d_lstm")
VARIANTS = [(name, variant) for name in NAMES for variant in plugins().resolve("stacks", name).variants]
HIGHWAY = {"width": 4, "cell": {"name": "ghu", "kernel": 3}}
WINDOW = {"width": 1, "cell": "frame_window"}
SMALL: dict[str, dict[str, Any]] = {
    "predrnnpp": {"layers": [4, HIGHWAY, 4]},
    "mim": {"transition": {"kernel": 3}},
    "mim_star": {"transition": {"kernel": 3}},
    "e3d_lstm": {"layers": [WINDOW, 4, 4], "cell": {"kernel": [2, 3, 3]}},
}


@pytest.fixture(params=VARIANTS, ids=lambda pair: "-".join(pair))
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    name, variant = request.param
    torch.manual_seed(0)
    values = {"layers": [4, 4, 4], "cell": {"kernel": 3}, "patch": 2, "grid": (5, 6), **SMALL.get(name, {})}
    built = stkit.build(name, variant=variant, in_channels=2, dtype=F64, **values)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built


def frames(batch: int = 3, steps: int = 4) -> Tensor:
    return torch.randn(batch, steps, 2, 5, 6, dtype=F64, generator=torch.Generator().manual_seed(1))


def test_the_same_input_twice_gives_the_same_output(forecaster: Forecaster) -> None:
    """State that is kept on a module and never reset."""
    first = forecaster(frames(), 3)
    forecaster(2 * frames(batch=2), 2)
    forecaster.rollout(frames(), 2).predictions.sum().backward()
    assert torch.equal(forecaster(frames(), 3), first)


def test_any_batch_size_in_any_order(forecaster: Forecaster) -> None:
    """A layer that fixes the batch size."""
    for batch in (2, 5, 1):
        assert forecaster(frames(batch), 1).shape[0] == batch


def test_samples_do_not_mix(forecaster: Forecaster) -> None:
    """A reshape where a permute belongs, a norm over the batch."""
    whole = forecaster(frames(), 3)
    for sample in range(3):
        torch.testing.assert_close(forecaster(frames()[sample : sample + 1], 3)[0], whole[sample], rtol=0, atol=1e-12)


def test_every_parameter_has_a_gradient(forecaster: Forecaster, request: pytest.FixtureRequest) -> None:
    """Convolutions that are allocated and never used; a memory that is returned unchanged."""
    released = "e3d_lstm-official" in request.node.callspec.id  # its memory is returned unchanged: this is kept
    loss = forecaster.rollout(frames(), 2).predictions.square().mean()
    gradients = torch.autograd.grad(loss, list(forecaster.parameters()), allow_unused=True)
    without = [
        name
        for (name, _), gradient in zip(forecaster.named_parameters(), gradients, strict=True)
        if gradient is None or gradient.abs().max() == 0
    ]
    assert [name for name in without if not (released and name.endswith(".gates.kernels.m"))] == []
    assert bool(without) == released


def test_gradients_reach_the_first_frame(forecaster: Forecaster) -> None:
    """A detach that cuts back-propagation through time."""
    context = frames().requires_grad_()
    (gradient,) = torch.autograd.grad(forecaster(context, 3)[:, -1].sum(), context)
    assert (gradient.abs().amax(dim=(0, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize("name", ["predrnn", "predrnnpp", "mim", "mim_star", "e3d_lstm"])
def test_the_carried_memory_moves(name: str) -> None:
    """A memory that is returned as it came: M moves at every step."""
    values = {"layers": [4, 4], "cell": {"kernel": 3}, "patch": 1, **SMALL.get(name, {})}
    network = stkit.build(name, in_channels=2, dtype=F64, **values).network
    state = network.initial_state(1, 3, 3, dtype=F64)
    seen = [state.stacks[0].carry["m"]]
    for _ in range(3):
        state, _ = network.absorb(torch.randn(1, 2, 3, 3, dtype=F64), state)
        seen.append(state.stacks[0].carry["m"])
    assert all((after - before).abs().max() > 1e-3 for before, after in pairwise(seen))


def test_a_forecast_needs_no_frame_of_the_future_and_no_gpu(forecaster: Forecaster) -> None:
    """The context alone; everything stays on the device of the input."""
    context = frames(steps=1)
    out = forecaster(context, 5)
    assert out.shape[1] == 5
    assert out.device == context.device


def test_a_later_frame_changes_no_earlier_forecast(forecaster: Forecaster) -> None:
    """Causality of a training rollout, whatever is shown."""
    one = frames(steps=6)
    two = torch.cat([one[:, :4], one[:, 4:] + 1], 1)
    a, b = (forecaster.rollout(sequence, 3) for sequence in (one, two))
    unseen = 5 - a.first  # forecasts of frames 1 to 4 rest on frames 0 to 3
    assert torch.equal(a.predictions[:, :unseen], b.predictions[:, :unseen])
