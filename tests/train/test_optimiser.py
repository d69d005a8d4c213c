"""Optimisers and averaged weights are timm's, those that are made without it too."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn

from stkit.recipe.sections.train import OptimiserConfig
from stkit.train.ema import build_ema
from stkit.train.optimiser import OF_TORCH, build_optimiser


class Model(nn.Module):
    """Weights of one and of several axes, a frozen one, a bias of three axes, an integer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.convolution = nn.Conv2d(2, 3, 3)
        self.norm = nn.GroupNorm(1, 3)
        self.frozen = nn.Parameter(torch.randn(2, 2), requires_grad=False)
        self.gates = nn.Module()
        self.gates.bias = nn.Parameter(torch.randn(2, 3, 1, 1))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(x)) * self.gates.bias[0]


def moved(model: Model, optimiser: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.ones(1, 2, 4, 4)).square().sum().backward()
        optimiser.step()
        model.steps += 1


def options(optimiser: torch.optim.Optimizer) -> list[dict[str, object]]:
    """Of each group its options, and how many parameters there are."""
    return [{**group, "params": len(group["params"])} for group in optimiser.param_groups]


@pytest.mark.parametrize("name", [*OF_TORCH, "AdamW", "sgd"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("more", [{}, {"eps": 1e-2, "betas": (0.5, 0.8)}], ids=["defaults", "given"])
def test_steps_are_those_of_timms_optimiser(name: str, weight_decay: float, more: dict[str, object]) -> None:
    more = {} if name == "sgd" else more
    ours, theirs = Model(), Model()
    made = build_optimiser(OptimiserConfig(name=name, lr=0.1, weight_decay=weight_decay, **more), ours)
    expected = create_optimizer_v2(theirs, opt=name.lower(), lr=0.1, weight_decay=weight_decay, **more)
    assert type(made) is type(expected)
    groups = [
        [{k: v for k, v in group.items() if k != "params"} for group in one.param_groups] for one in (made, expected)
    ]
    assert groups[0] == groups[1]
    moved(ours, made)
    moved(theirs, expected)
    for value, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(value, other)


@given(decay=st.floats(0.1, 0.999), first=st.integers(1, 50), seed=st.integers(0, 99))
def test_averaged_weights_are_timms(decay: float, first: int, seed: int) -> None:
    model = Model(seed)
    ours, theirs = build_ema(decay, model), ModelEmaV3(model, decay=decay, use_warmup=True)
    assert ours is not None
    optimiser = build_optimiser(OptimiserConfig(lr=0.1), model)
    for step in range(first, first + 3):
        moved(model, optimiser, 1)
        ours.update(model, step)
        theirs.update(model, step)
    assert not ours.module.training
    assert ours.module.steps == 3
    found, expected = ours.module.state_dict(), theirs.module.state_dict()
    assert found.keys() == expected.keys() == model.state_dict().keys()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_no_decay_no_average() -> None:
    assert build_ema(None, Model()) is None
