"""Both nodes meet the contract of every cell, in each variant; and what the other ports of PredRNN++ get wrong."""

from __future__ import annotations

import pytest
import torch
from stkit_predrnnpp.causal_lstm import CausalLSTM
from stkit_predrnnpp.config import CausalLSTMConfig, GHUConfig
from stkit_predrnnpp.ghu import GHU
from torch import Tensor

import stkit
from stkit.api import CellConfig
from stkit.errors import UsageError
from stkit.plugin.manager import plugins
from stkit.stacks import Stack
from stkit.testing.contract import CellContract

PAPER = {
    "bias": True,
    "forget_bias": 0.0,
    "norm": "channel",
    "output_gate_reads_hidden": False,
    "spatial_input_reads_memory": True,
    "memory_kernel": 1,
}


class TestCausalLSTM(CellContract):
    name = "causal_lstm"
    config = {"kernel": 3, "norm": "channel"}


class TestAsPrinted(CellContract):
    name = "causal_lstm"
    config = {"kernel": 3, **PAPER}


class TestOlderCode(CellContract):
    name = "causal_lstm"
    config = {"kernel": 2, "gates_read": "nothing", "bias": False, "norm": "pixel"}
    needs_grid = True


class TestOlderPort(CellContract):
    name = "causal_lstm"
    config = {"kernel": 3, "gates_read": "m", "bias": False}


class TestGHU(CellContract):
    name = "ghu"
    config = {"kernel": 3, "norm": "channel", "bias": True}


class TestGHUWithNormPerPixel(CellContract):
    name = "ghu"
    config = {"kernel": 2, "norm": "pixel", "bias": False}
    needs_grid = True


FRAMES = torch.randn(2, 3, 2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", ["standard", "official", "paper"])
def test_layers_may_have_different_widths(variant: str) -> None:
    layers = [5, {"width": 4, "cell": {"name": "ghu", "kernel": 3}}, 3, 2]
    forecaster = stkit.build(
        "predrnnpp", variant=variant, in_channels=2, layers=layers, cell={"kernel": 3}, dtype=torch.float64
    )
    loss = forecaster.rollout(FRAMES, 2).predictions.square().sum()
    loss.backward()
    dead = [name for name, p in forecaster.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_the_highway_may_stand_anywhere_and_leaves_the_memory_alone(place: int) -> None:
    layers: list[object] = [3, 3, 3]
    layers.insert(place, {"width": 3, "cell": {"name": "ghu", "kernel": 3, "norm": "channel"}})
    forecaster = stkit.build("predrnnpp", in_channels=2, layers=layers, cell={"kernel": 3}, dtype=torch.float64)
    assert forecaster(FRAMES, 2).shape == (2, 2, 2, 6, 5)
    ghu = next(part for part in forecaster.modules() if isinstance(part, GHU))
    m = torch.randn(2, 7, 6, 5, dtype=torch.float64)
    x = torch.randn(2, ghu.in_channels, 6, 5, dtype=torch.float64)
    out = ghu.step(x, ghu.initial_state(2, 6, 5, dtype=torch.float64), {"m": m})
    assert out.carry["m"] is m


@pytest.mark.parametrize("variant", ["standard", "official", "paper"])
def test_the_architecture_has_both_norms(variant: str) -> None:
    """With the norm of its configuration OpenSTL's port does not run."""
    forecaster = stkit.build("predrnnpp", variant=variant, in_channels=2, device="meta")
    cells = list(forecaster.network.stack.nodes)
    assert [type(cell) for cell in cells] == [CausalLSTM, GHU, CausalLSTM, CausalLSTM, CausalLSTM]
    assert all(any("norms" in name for name, _ in cell.named_parameters()) for cell in cells)


def test_both_memories_are_updated_and_returned() -> None:
    torch.manual_seed(0)
    stack = Stack([CausalLSTM(2, 3, 4, kernel=3), CausalLSTM(3, 4, 3, kernel=3)])
    state = stack.initial_state(1, 5, 4)
    seen: list[Tensor] = []
    for _ in range(3):
        state = stack.step(torch.randn(1, 2, 5, 4), state).state
        seen += [state.carry["m"], *(node["c"] for node in state.nodes)]
    assert all(a.any() and not a.equal(b) for a, b in zip(seen[:-3], seen[3:], strict=True))


def test_the_transition_fills_the_slot() -> None:
    """The forget gate by name is the cell's own forget gate."""
    torch.manual_seed(0)
    own = stkit.build("predrnnpp", in_channels=2, layers=[3, 3], cell={"kernel": 3}, dtype=torch.float64)
    named = stkit.build(
        "predrnnpp",
        in_channels=2,
        layers=[3, 3],
        cell={"kernel": 3},
        transition={"name": "forget", "bias": 1.0},
        dtype=torch.float64,
    )
    named.load_state_dict(own.state_dict())
    assert named(FRAMES, 2).equal(own(FRAMES, 2))


def test_the_bottom_of_a_forecaster_has_no_input() -> None:
    forecaster = stkit.build(
        "predrnnpp",
        variant="paper",
        in_channels=2,
        layers=[3, {"width": 3, "cell": {"name": "ghu", "kernel": 3}}, 3],
        cell={"kernel": 3},
        rollout="encoder_forecaster",
        dtype=torch.float64,
    )
    assert forecaster(FRAMES, 2).shape == (2, 2, 2, 6, 5)


@pytest.mark.parametrize("cell", ["causal_lstm", "ghu"])
def test_the_released_start(cell: str) -> None:
    layers = [{"width": 4, "cell": {"name": cell, "kernel": 3, "initial_range": 0.001}}]
    if cell == "ghu":
        layers.append({"width": 4, "cell": {"name": "causal_lstm", "kernel": 3}})
    node = stkit.build("predrnnpp", in_channels=2, layers=layers).network.stack.nodes[0]
    large = [p for name, p in node.named_parameters() if "kernels" in name and p.shape[-1] > 1]
    assert large
    assert all(0 < p.abs().max() <= 0.001 for p in large)
    assert not any(p.any() for name, p in node.named_parameters() if "biases" in name and "reduced" not in name)


OPTIONS: dict[str, list[dict[str, object]]] = {
    "causal_lstm": [
        {"kernel": 1},
        {"bias": False},
        {"bias": True},
        {"forget_bias": 0.0},
        {"norm": {"name": "channel"}},
        {"gates_read": "m"},
        {"gates_read": "nothing"},
        {"output_gate_reads_hidden": False},
        {"spatial_input_reads_memory": True},
        {"memory_kernel": 1},
        {"initial_range": 0.001},
    ],
    "ghu": [
        {"kernel": 1},
        {"bias": False},
        {"bias": True},
        {"norm": {"name": "channel"}},
        {"initial_range": 0.001},
    ],
}


@pytest.mark.parametrize(("cell", "other"), [(cell, other) for cell in OPTIONS for other in OPTIONS[cell]], ids=str)
def test_every_option_changes_the_numbers(cell: str, other: dict[str, object]) -> None:
    def forecast(values: dict[str, object]) -> Tensor:
        torch.manual_seed(0)
        middle = {"width": 3, "cell": {"name": cell, "norm": None, "kernel": 3, **values}}
        model = stkit.build("predrnnpp", in_channels=2, layers=[3, middle], cell={"norm": None, "kernel": 3})
        return model(FRAMES.float(), 2)

    assert not torch.allclose(forecast(other), forecast({}), atol=1e-7)


@pytest.mark.parametrize("config", [CausalLSTMConfig, GHUConfig])
def test_the_options_above_are_all_there_are(config: type[CellConfig]) -> None:
    name = "ghu" if config is GHUConfig else "causal_lstm"
    assert {field for other in OPTIONS[name] for field in other} == config.model_fields.keys() - {"name"}


def test_variants_are_explained() -> None:
    spec = plugins().resolve("stacks", "predrnnpp")
    assert set(spec.variants) == set(spec.differences) == {"standard", "official", "paper"}
    with pytest.raises(UsageError, match="no variant 'openstl'; known: official, paper, standard"):
        stkit.build("predrnnpp", variant="openstl")
