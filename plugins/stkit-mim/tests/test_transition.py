"""MIM in the slot of several cells meets the contract of every cell; and what the ports of MIM get wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from stkit_mim.config import MIMConfig
from stkit_mim.transition import MIM
from torch import Tensor

import stkit
from stkit.cells import Transition, TransitionSite, elapsed
from stkit.errors import UsageError
from stkit.plugin.manager import plugins
from stkit.stacks import Stack
from stkit.testing.contract import CellContract


def mim(**values: Any) -> Any:
    """The factory that the recipe's values stand for."""
    config = MIMConfig(name="mim", kernel=3, **values)
    return staticmethod(lambda site: MIM.from_config(config, site))


class TestInSTLSTM(CellContract):
    name = "st_lstm"
    config = {"kernel": 3, "bias": "source", "shared_input_gates": True, "output_gate_reads": "arriving"}
    transition = mim()


class TestAsPrinted(CellContract):
    name = "st_lstm"
    config = {"kernel": 3}
    transition = mim(recurrence="paper", source="input", norm="channel", bias=True)


class TestAsReleased(CellContract):
    name = "st_lstm"
    config = {"kernel": 3, "bias": "source", "norm": "channel", "shared_input_gates": True}
    transition = mim(peephole="pixel", norm="channel")
    needs_grid = True


class TestInCausalLSTM(CellContract):
    name = "causal_lstm"
    config = {"kernel": 3}
    transition = mim(peephole="none", bias=False)


class TestInConvLSTM(CellContract):
    name = "conv_lstm"
    config = {"kernel": 3}
    transition = mim()
    exempt = {"options-act": "forget_bias belongs to the forget gate, in whose place the transition stands"}


FRAMES = torch.randn(2, 4, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
VARIANTS = [("mim", v) for v in ("standard", "official", "paper")] + [("mim_star", v) for v in ("standard", "paper")]
SMALL: dict[str, Any] = {"cell": {"kernel": 3}, "layers": [3, 3, 3, 3], "transition": {"kernel": 3}}


def build(name: str, variant: str, **values: Any) -> Any:
    torch.manual_seed(0)
    return stkit.build(name, variant=variant, in_channels=2, grid=(5, 4), dtype=torch.float64, **{**SMALL, **values})


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    """Peepholes start at zero: every parameter is moved, so that nothing hides."""
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return module


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_the_same_frames_twice_give_the_same_forecast(name: str, variant: str) -> None:
    """OpenSTL's port keeps S on the module: there the second forecast is another one."""
    forecaster = stirred(build(name, variant))
    first = forecaster(FRAMES, 3)
    forecaster(FRAMES[:1].flip(1), 1)
    assert forecaster(FRAMES, 3).equal(first)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_parameter_learns(name: str, variant: str) -> None:
    forecaster = stirred(build(name, variant))
    forecaster.rollout(FRAMES, 2).predictions.square().sum().backward()
    dead = [name for name, p in forecaster.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_memory_moves(name: str, variant: str) -> None:
    stack = stirred(build(name, variant)).network.stack  # type: ignore[union-attr]
    state = stack.initial_state(2, 5, 4, dtype=torch.float64)
    keys = [node.keys() for node in state.nodes]
    for t in range(3):
        before, state = state, stack.step(FRAMES[:, t], state).state
        assert [node.keys() for node in state.nodes] == keys
        for layer, (old, new) in enumerate(zip(before.nodes, state.nodes, strict=True)):
            still = {name.removeprefix("transition.") for name in old if old[name].equal(new[name])}
            assert still == ((set() if not layer else {"N", "D"} & {k[11:] for k in old}) if t == 0 else _flag(old))


def _flag(state: dict[str, Tensor]) -> set[str]:
    return {"seen"} if "transition.seen" in state else set()


@pytest.mark.parametrize("recurrence", ["released", "paper"])
def test_at_the_first_step_nothing_has_changed(recurrence: Any) -> None:
    """D is exactly zero and N untouched, whatever the offsets of MIM-N; MIM-S runs."""
    torch.manual_seed(0)
    transition = MIM(2, 3, kernel=3, recurrence=recurrence)
    stirred(transition)
    state = transition.initial_state(2, 5, 4)
    state["N"] = torch.randn(2, 3, 5, 4)
    c, x = torch.randn(2, 3, 5, 4), torch.randn(2, 2, 5, 4)
    kept, new, carry = transition(None, c, x, state, {})
    assert not carry["D"].any()
    assert new["N"].equal(state["N"])
    assert new["S"].any()
    assert kept.any()
    assert new["seen"].all()
    kept, new, carry = transition(None, c, x, new, {})
    assert carry["D"].any()  # the input did not change: the offsets speak
    assert not new["N"].equal(state["N"])


def test_samples_of_a_batch_may_stand_at_different_steps() -> None:
    torch.manual_seed(0)
    transition = MIM(2, 3, kernel=3)
    stirred(transition)
    c, x = torch.randn(2, 3, 5, 4), torch.randn(2, 2, 5, 4)
    fresh = transition.initial_state(2, 5, 4)
    _, later, _ = transition(None, c, x, fresh, {})
    mixed = {name: torch.cat([fresh[name][:1], later[name][1:]]) for name in fresh}
    kept, _, _ = transition(None, c, x, mixed, {})
    assert torch.allclose(kept[:1], transition(None, c, x, fresh, {})[0][:1])
    assert torch.allclose(kept[1:], transition(None, c, x, later, {})[0][1:])


@pytest.mark.parametrize("recompute", ["none", "everything"])
@pytest.mark.parametrize("recurrence", ["released", "paper"])
def test_where_the_step_is_known_nobody_asks_the_state_what_was_seen(recurrence: str, recompute: Any) -> None:
    """Not a bit differs from what the products with the flag give, gradients of one step and of several included."""
    transition = {"name": "mim", "kernel": 3, "recurrence": recurrence}
    forecaster = stkit.build("predrnn", layers=[3, 3], transition=transition, patch=1, cell={"kernel": 3})
    stirred(forecaster)

    def run(count: int) -> list[Tensor]:
        forecaster.zero_grad()
        frames = torch.rand(2, count, 1, 4, 4, generator=torch.Generator().manual_seed(5))
        out = forecaster.rollout(frames, 1, recompute=recompute)
        out.predictions.square().sum().backward()
        slopes = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in forecaster.parameters()]
        return [out.predictions.detach(), *slopes]

    for count in (2, 5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(elapsed, "steps", lambda: None)
            expected = run(count)
        for ours, theirs in zip(run(count), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("memory", ["S", "N", "D"])
def test_gradients_pass_through_the_memories(memory: str) -> None:
    """Finite differences through two steps; a detach between them would show."""
    torch.manual_seed(0)
    transition = MIM(1, 2, kernel=3, dtype=torch.float64)
    stirred(transition)
    _, state, _ = transition(None, _numbers(2), _numbers(1), transition.initial_state(1, 3, 3, dtype=torch.float64), {})
    cs, xs = [_numbers(2), _numbers(2)], [_numbers(1), _numbers(1)]

    def through(value: Tensor) -> Tensor:
        own = {**{name: v.detach() for name, v in state.items()}, memory: value}
        for c, x in zip(cs, xs, strict=True):
            kept, own, _ = transition(None, c, x, own, {})
        return kept

    assert torch.autograd.gradcheck(through, (state[memory].detach().requires_grad_(),))


def test_a_cut_through_s_would_change_the_gradient_of_its_kernel() -> None:
    """The cut that OpenSTL's port makes: the gradient of the kernels of MIM-S is then far from the true one."""
    torch.manual_seed(0)
    transition = MIM(1, 2, kernel=3, dtype=torch.float64)
    stirred(transition)
    cs, xs = [_numbers(2) for _ in range(4)], [_numbers(1) for _ in range(4)]

    def gradient(hand_over: Callable[[Tensor], Tensor]) -> Tensor:
        state = transition.initial_state(1, 3, 3, dtype=torch.float64)
        total = torch.zeros((), dtype=torch.float64)
        for c, x in zip(cs, xs, strict=True):
            kept, state, _ = transition(None, c, x, state, {})
            state = {**state, "S": hand_over(state["S"])}
            total = total + kept.square().sum()
        return torch.autograd.grad(total, transition.mim_s.gates.kernels["signal"])[0]  # type: ignore[union-attr,index]

    whole, cut = gradient(lambda s: s), gradient(Tensor.detach)
    assert (whole - cut).norm() > 0.01 * whole.norm()


def _numbers(channels: int) -> Tensor:
    return torch.randn(1, channels, 3, 3, dtype=torch.float64)


def test_d_rises_and_lives_for_one_step() -> None:
    stack = build("mim", "standard").network.stack
    assert list(stack.returning) == ["m"]
    reads = [node.carry_spec["D"].reads for node in stack.nodes if "D" in node.carry_spec]
    assert reads == [0, 3, 3]
    assert [node.carry_spec["D"].reads for node in build("mim", "paper").network.stack.nodes[1:]] == [0, 0, 0]


def test_layers_may_have_different_widths_where_the_cell_allows() -> None:
    forecaster = stirred(build("mim_star", "standard", layers=[2, 4, 3, 5]))
    assert forecaster(FRAMES, 2).shape == (2, 2, 2, 5, 4)


def test_mim_is_a_cell_with_a_transition() -> None:
    """The architecture and the cell with the slot filled are one thing, said in two ways."""
    cell = {"kernel": 3, "bias": "source", "shared_input_gates": True, "output_gate_reads": "arriving"}
    named = build("mim", "standard", cell={"kernel": 3, "norm": None}, transition={"kernel": 3, "norm": None})
    said = build(
        "predrnn",
        "standard",
        cell=cell,
        transition={"name": "mim", "layers": [2, 3, 4], "kernel": 3},
        head={"bias": True},
    )
    said.load_state_dict(named.state_dict())
    assert said(FRAMES, 2).equal(named(FRAMES, 2))


def test_mim_star_is_the_causal_lstm_with_it() -> None:
    network = build("mim_star", "paper").network.stack.nodes
    assert [type(node).__name__ for node in network] == ["CausalLSTM"] * 4
    assert [isinstance(node.transition, MIM) for node in network] == [False, True, True, True]


@pytest.mark.parametrize("name", ["mim", "mim_star"])
@pytest.mark.parametrize("layers", [[2, 2], [2, 2, 2, 2], [2] * 6])
def test_all_layers_but_the_bottom_one_whatever_their_number(name: str, layers: list[int]) -> None:
    nodes = build(name, "standard", layers=layers).network.stack.nodes
    assert [isinstance(node.transition, MIM) for node in nodes] == [False] + [True] * (len(layers) - 1)


def test_one_layer_alone_has_none_for_it() -> None:
    with pytest.raises(UsageError, match=r"transition\.layers: there is no layer 2; the layers are 1 to 1"):
        build("mim", "standard", layers=[3])
    (node,) = build("mim", "standard", layers=[3], transition={"layers": [1]}).network.stack.nodes
    assert isinstance(node.transition, MIM)


def test_names_of_parameters_are_those_of_checkpoints() -> None:
    """A change here breaks every checkpoint: it must be meant."""
    names = [name for name in build("mim", "standard").state_dict() if ".transition." in name]
    per_source = [f"gates.{part}" for part in ("kernels", "biases", "norms")]
    unit = [f"{part}.{source}" for part in per_source for source in ("signal", "returning")]
    unit = [name + end for name in unit for end in ((".weight", ".bias") if "norms" in name else ("",))]
    unit += [f"peep_{gate}.weight" for gate in "ifo"]
    assert sorted(names) == sorted(
        f"network.stack.nodes.{node}.transition.{half}.{name}"
        for node in (1, 2, 3)
        for half in ("mim_n", "mim_s")
        for name in unit
    )


@pytest.mark.parametrize("name", ["mim", "mim_star"])
@pytest.mark.parametrize("variant", ["standard", "paper"])
def test_the_weights_fit_any_grid(name: str, variant: str) -> None:
    forecaster = stkit.build(name, variant=variant, in_channels=2, patch=2, dtype=torch.float64, **SMALL)
    for height, width in ((5, 7), (8, 4)):
        assert forecaster(torch.zeros(1, 2, 2, height, width, dtype=torch.float64), 1).shape[-2:] == (height, width)


def test_peepholes_per_pixel_need_a_grid() -> None:
    with pytest.raises(UsageError, match=r"layer 2 .* grid"):
        stkit.build("mim", variant="official", in_channels=2)


def test_the_bottom_of_a_forecaster_has_no_change_to_see() -> None:
    with pytest.raises(UsageError, match="the layer has no input"):
        build("mim", "standard", transition={"kernel": 3, "layers": [1, 2]}, rollout="encoder_forecaster")
    forecaster = build("mim", "standard", rollout="encoder_forecaster")
    assert forecaster(FRAMES, 2).shape == (2, 2, 2, 5, 4)


def test_a_variant_that_was_not_released() -> None:
    assert set(plugins().resolve("stacks", "mim").variants) == {"standard", "official", "paper"}
    with pytest.raises(UsageError, match="no variant 'official'; known: paper, standard"):
        stkit.build("mim_star", variant="official")


def test_the_papers_recurrence_has_no_peepholes() -> None:
    with pytest.raises(ValidationError, match="no peepholes"):
        MIMConfig(name="mim", recurrence="paper", peephole="pixel")


@pytest.mark.parametrize(
    "other",
    [
        {"kernel": 1},
        {"bias": False},
        {"bias": True},
        {"forget_bias": 0.0},
        {"norm": {"name": "channel"}},
        {"source": "input"},
        {"recurrence": "paper"},
        {"initial_range": 0.001},
        {"layers": [2]},
    ],
    ids=str,
)
def test_every_option_changes_the_numbers(other: dict[str, Any]) -> None:
    def forecast(transition: dict[str, Any]) -> Tensor:
        values = {"layers": [2, 3], "norm": None, "kernel": 3, **transition}
        return build("mim", "standard", layers=[3, 3, 3], transition=values)(FRAMES, 2)  # type: ignore[no-any-return]

    assert not torch.allclose(forecast(other), forecast({}), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("peephole", "count"), [(None, 18), ("channel", 18), ("pixel", 360), ("none", 0)])
def test_the_peepholes(peephole: Any, count: int) -> None:
    stack: Stack = build(
        "mim", "standard", layers=[3, 3], transition={"layers": [2], "peephole": peephole}
    ).network.stack
    assert sum(p.numel() for name, p in stack.named_parameters() if "peep" in name) == count


def test_a_memory_with_a_depth_is_refused() -> None:
    site = TransitionSite(in_channels=2, width=3, carry_in={}, grid=None, norms=None, depth=2)
    with pytest.raises(ValueError, match="depth"):
        _made(site)


def _made(site: TransitionSite) -> Transition:
    return MIM.from_config(MIMConfig(name="mim"), site)
