"""The contract can fail: each faulty cell here is one that exists in the field, and a named rule catches it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from stkit.cells.base import Cell, CellSite, StepOut, Tensors
from stkit.plugin.config import CarryPort, CellConfig
from stkit.testing.contract import CellContract, ContractViolation

torch.set_num_threads(1)


class PlainConfig(CellConfig):
    """Configuration of the cells below."""

    name: str = "plain"

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        return {"m": CarryPort(reads=width, writes=width)}


class Plain(Cell):
    """Sound, and as small as a cell with state and carry can be: the faulty ones differ from it in one place."""

    carry_spec: Mapping[str, CarryPort]

    def __init__(self, site: CellSite) -> None:
        super().__init__()
        self.in_channels, self.out_channels = site.in_channels, site.width
        self.carry_spec = PlainConfig().carry_ports(site.width)
        to: dict[str, Any] = {"device": site.device, "dtype": site.dtype}
        sources = site.in_channels + 2 * site.width
        self.gate = nn.Conv2d(sources, site.width, 3, padding=1, **to)
        self.new = nn.Conv2d(sources, site.width, 3, padding=1, **to)
        self.memory = nn.Conv2d(2 * site.width, site.width, 1, **to)

    @classmethod
    def from_config(cls, config: PlainConfig, site: CellSite) -> Plain:
        return cls(site)

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        shape = (batch, self.out_channels, height, width)
        return {name: torch.zeros(shape, device=device, dtype=dtype) for name in ("h", "c")}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        assert x is not None
        c, m = self.memories(torch.cat([x, state["h"], carry["m"]], 1), state["c"], carry["m"])
        h = torch.tanh(c + m)
        return StepOut(h, {"h": h, "c": c}, {**carry, "m": m}, {})

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(self.gate(seen))
        c = gate * c + (1 - gate) * torch.tanh(self.new(seen))
        return c, torch.tanh(self.memory(torch.cat([c, m], 1)))


class KeepsStateOnSelf(Plain):
    """The memory lives in the module and is never reset: the same input twice gives two outputs."""

    kept: Tensor | None = None

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        if self.kept is not None and self.kept.shape == c.shape:
            c = self.kept
        c, m = super().memories(seen, c, m)
        self.kept = c.detach()
        return c, m


class KeepsRunningStatistics(Plain):
    """A batch norm on the hidden state: it writes buffers in training."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site)
        self.norm = nn.BatchNorm2d(site.width, device=site.device, dtype=site.dtype)

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        return self.norm(c), m


class FixesTheBatch(Plain):
    """A buffer takes the size of the first batch."""

    scale: Tensor | None = None

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        if self.scale is None:
            self.scale = torch.ones_like(c)
        c, m = super().memories(seen, c, m)
        return c * self.scale, m


class FixesTheGrid(Plain):
    """A weight per pixel that is declared nowhere."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site)
        self.peephole = nn.Parameter(torch.zeros(site.width, 8, 8, device=site.device, dtype=site.dtype))

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return super().memories(seen, c * self.peephole, m)


class HasADeadParameter(Plain):
    """A convolution that nothing calls."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site)
        self.spare = nn.Conv2d(site.width, site.width, 1, device=site.device, dtype=site.dtype)


class ReturnsTheOldMemory(Plain):
    """The new memory is computed and used, and the old one is handed back."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(state={**out.state, "c": state["c"]})


class HandsOnTheOldCarry(Plain):
    """As in a released E3D-LSTM: the spatial memory is computed, and the carry stays zero for ever."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site)
        self.read = nn.Conv2d(site.width, site.width, 1, bias=False, device=site.device, dtype=site.dtype)

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, {**carry, "m": self.read(carry["m"])})
        return out._replace(carry=dict(carry))


class ReshapesWithoutPermute(Plain):
    """Self-attention whose tokens B (H W) C are read as B C H W."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        tokens = c.flatten(2).transpose(1, 2)
        attended = torch.softmax(tokens @ tokens.transpose(1, 2), 2) @ tokens
        return c + attended.reshape(c.shape), m


class ReadsChannelsAsTokens(Plain):
    """Self-attention whose B C H W is read as tokens B (H W) C, and back in the same wrong way."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        tokens = c.reshape(c.shape[0], -1, c.shape[1])
        attended = torch.softmax(tokens @ tokens.transpose(1, 2), 2) @ tokens
        return c + attended.reshape(c.shape), m


class MixesTheBatch(Plain):
    """A softmax over the batch."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        return c * torch.softmax(c, 0), m


class CutsBackPropagation(Plain):
    """The memory is detached between two steps."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return super().memories(seen, c.detach(), m)


class OverwritesItsOutputs(Plain):
    """A buffer is written in place and handed out at every step."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        h = state["h"].detach().copy_(out.y)
        return out._replace(y=h, state={**out.state, "h": h})


class PeeksAtTheFuture(Plain):
    """Outputs are smoothed over time by changing those that were handed out."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        with torch.no_grad():
            state["h"].add_(out.y, alpha=0.1)
        return out


class ChangesItsKeys(Plain):
    """An entry appears at the first step."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(state={**out.state, "previous": out.y})


class GrowsItsHistory(Plain):
    """An entry gets longer at every step."""

    def initial_state(self, *sizes: Any, **to: Any) -> Tensors:
        state = super().initial_state(*sizes, **to)
        return {**state, "history": state["c"][:, :0].clone()}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(state={**out.state, "history": torch.cat([state["history"], out.y], 1)})


class AliasesItsZeros(Plain):
    """One tensor of zeros for two entries."""

    def initial_state(self, *sizes: Any, **to: Any) -> Tensors:
        zeros = super().initial_state(*sizes, **to)["h"]
        return {"h": zeros, "c": zeros}


class ExpandsItsZeros(Plain):
    """A single zero behind every element."""

    def initial_state(self, *sizes: Any, **to: Any) -> Tensors:
        state = super().initial_state(*sizes, **to)
        return {name: value.new_zeros(()).expand_as(value) for name, value in state.items()}


class FixesFloat32(Plain):
    """The initial state has a dtype of its own mind."""

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        return super().initial_state(batch, height, width, device, torch.float32)


class ComputesInFloat32(Plain):
    """The result is cast."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        return c.float().to(c.dtype), m.float()


class NeedsOneDevice(Plain):
    """A tensor is made without a device inside the step."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return super().memories(seen, c + torch.zeros(c.shape, dtype=c.dtype), m)


class MovesToTheCpu(Plain):
    """A device by name."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        return c.to("cpu"), m


class CountsItsSteps(Plain):
    """A counter on the module decides what happens."""

    steps = 0

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        self.steps += 1
        return (c, m) if self.steps % 2 else (c / 2, m)


class BranchesOnValues(Plain):
    """What happens depends on the numbers of the field."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        return (c, m) if c.abs().max() < 1e6 else (c / 2, m)


class WritesAsItGoes(Plain):
    """A number is taken out of the graph to be written down."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        logging.getLogger(__name__).debug("memory %.3f", c.detach().mean().item())
        return c, m


class NamesStatesByTime(Plain):
    """Each step adds an entry that is called after the time."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(state={**state, **out.state, f"h{len(state)}": out.y})


class CutsEverySecondGradient(Plain):
    """The memory that arrives with a gradient leaves without one."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        new, m = super().memories(seen, c, m)
        return new.detach() if c.requires_grad else new, m


class DiffersWhenCompiled(Plain):
    """A faster way for the compiler that gives other numbers."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        return (c.round(decimals=3), m) if torch.compiler.is_compiling() else (c, m)


class DetachesWhenCompiled(Plain):
    """The same numbers for the compiler, another gradient."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        c, m = super().memories(seen, c, m)
        return c, (m + m.detach()) / 2 if torch.compiler.is_compiling() else m


class SwallowsTheCarry(Plain):
    """The carry is made anew, without the registers of other nodes."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(carry={"m": out.carry["m"]})


class WritesUndeclared(Plain):
    """A register that no carry_spec knows."""

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, carry)
        return out._replace(carry={**out.carry, "D": out.y})


class RaisesAnotherEntry(Plain):
    """The output is not the entry that out_key names."""

    out_key = "c"


class CallsItAnotherName(Plain):
    """The hidden state is called z, and the configuration does not say that attention may stand there, but at h."""

    out_key = "z"

    def initial_state(self, *size: Any, **to: Any) -> Tensors:
        return _renamed(super().initial_state(*size, **to), "h", "z")

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, _renamed(state, "z", "h"), carry)
        return out._replace(state=_renamed(out.state, "h", "z"))


class DeclaresAFormOfItsOwn(Plain):
    """What is called h is no field of the layer's width."""

    out_key = "y"

    def initial_state(self, *size: Any, **to: Any) -> Tensors:
        state = super().initial_state(*size, **to)
        return {**_renamed(state, "h", "y"), "h": state["h"][:, :1].clone()}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, _renamed({**state, "h": state["y"]}, "y", "h"), carry)
        return out._replace(state={**_renamed(out.state, "h", "y"), "h": out.y[:, :1]})


def _renamed(state: Tensors, old: str, new: str) -> Tensors:
    return {new if name == old else name: value for name, value in state.items()}


class SharesAWeight(Plain):
    """Two names for one tensor."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site)
        self.new.bias = self.gate.bias


class IgnoredConfig(PlainConfig):
    """Has an option that is taken and read by nobody, and one that acts."""

    kernel: int = 3
    scale: float = 1.0


class TakesAnOptionAndIgnoresIt(Plain):
    """The configuration has a kernel size; the cell has 3."""

    scale = 1.0

    @classmethod
    def from_config(cls, config: PlainConfig, site: CellSite) -> Plain:
        cell = cls(site)
        cell.scale = getattr(config, "scale", 1.0)
        return cell

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return super().memories(seen * self.scale, c, m)


class ForgetsTheDevice(Plain):
    """The constructor ignores device and dtype of its site."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site._replace(device=None))


FAULTS: list[tuple[type[Plain], str]] = [
    (KeepsStateOnSelf, "pure"),
    (KeepsStateOnSelf, "writes-nothing"),
    (KeepsStateOnSelf, "resumes"),
    (KeepsRunningStatistics, "writes-nothing"),
    (FixesTheBatch, "shapes"),
    (FixesTheGrid, "shapes"),
    (HasADeadParameter, "gradients"),
    (ReturnsTheOldMemory, "state-moves"),
    (HandsOnTheOldCarry, "gradients"),
    (ReshapesWithoutPermute, "translation"),
    (ReadsChannelsAsTokens, "translation"),
    (MixesTheBatch, "batch-independence"),
    (CutsBackPropagation, "gradcheck"),
    (OverwritesItsOutputs, "writes-nothing"),
    (OverwritesItsOutputs, "causality"),
    (PeeksAtTheFuture, "causality"),
    (PeeksAtTheFuture, "writes-nothing"),
    (ChangesItsKeys, "state-form"),
    (GrowsItsHistory, "state-form"),
    (AliasesItsZeros, "state-form"),
    (ExpandsItsZeros, "state-form"),
    (FixesFloat32, "dtype"),
    (ComputesInFloat32, "dtype"),
    (NeedsOneDevice, "meta-device"),
    (MovesToTheCpu, "meta-device"),
    (ForgetsTheDevice, "meta-device"),
    (CountsItsSteps, "writes-nothing"),
    (CountsItsSteps, "pure"),
    (CountsItsSteps, "compiles"),
    (GrowsItsHistory, "compiles"),
    (NamesStatesByTime, "state-form"),
    (NamesStatesByTime, "compiles"),
    (BranchesOnValues, "compiles"),
    (WritesAsItGoes, "compiles"),
    (CutsEverySecondGradient, "compiles"),
    (DiffersWhenCompiled, "compiles"),
    (DetachesWhenCompiled, "compiles"),
    (SwallowsTheCarry, "carry-as-declared"),
    (WritesUndeclared, "carry-as-declared"),
    (RaisesAnotherEntry, "out-key"),
    (CallsItAnotherName, "places-as-declared"),
    (DeclaresAFormOfItsOwn, "places-as-declared"),
    (SharesAWeight, "saves"),
    (TakesAnOptionAndIgnoresIt, "options-act"),
]


class TestASoundCell(CellContract):
    """Every rule passes on the cell from which the faulty ones differ."""

    config = PlainConfig()
    target = Plain


@pytest.mark.parametrize(("fault", "rule"), FAULTS, ids=[f"{fault.__name__}-{rule}" for fault, rule in FAULTS])
def test_a_fault_is_caught_by_its_rule(fault: type[Plain], rule: str) -> None:
    class Contract(CellContract):
        config = IgnoredConfig() if rule == "options-act" else PlainConfig()
        target = fault

    with pytest.raises(ContractViolation) as caught:
        getattr(Contract(), "test_" + rule.replace("-", "_"))()
    assert caught.value.rule == rule
    message = str(caught.value)
    assert f"cell 'plain' breaks the rule '{rule}'" in message
    assert "found: " in message
    assert "what to do: " in message


def test_an_ignored_option_is_named_alone() -> None:
    class Contract(CellContract):
        config = IgnoredConfig()
        target = TakesAnOptionAndIgnoresIt

    with pytest.raises(ContractViolation, match="changes anything: kernel\n"):
        Contract().test_options_act()


def test_every_rule_catches_something() -> None:
    checked_elsewhere = {"light-config"}  # needs an installed plugin: tests/plugin_package
    assert {rule for _, rule in FAULTS} == set(CellContract.rules) - checked_elsewhere


def test_every_rule_has_a_test_and_every_test_a_rule() -> None:
    tests = {name.removeprefix("test_").replace("_", "-") for name in dir(CellContract) if name.startswith("test_")}
    assert tests == set(CellContract.rules)


def test_an_exemption_turns_a_rule_round() -> None:
    class Exempt(CellContract):
        config = PlainConfig()
        target = HasADeadParameter
        exempt: ClassVar[Mapping[str, str]] = {"gradients": "as released"}

    Exempt().test_gradients()


def test_an_exemption_that_is_not_needed_fails() -> None:
    class Exempt(CellContract):
        config = PlainConfig()
        target = Plain
        exempt: ClassVar[Mapping[str, str]] = {"gradients": "as released"}

    with pytest.raises(AssertionError, match="remove its exemption"):
        Exempt().test_gradients()


def test_an_exemption_from_no_rule_is_an_error() -> None:
    with pytest.raises(TypeError, match="the rules are shapes, pure"):
        type("Typo", (CellContract,), {"exempt": {"gradient": "a typo"}})


def test_a_contract_without_a_name_says_what_to_write() -> None:
    with pytest.raises(TypeError, match='name = "my_cell"'):
        type("Nameless", (CellContract,), {})().test_out_key()


def test_examples_are_the_same_on_every_run_in_ci() -> None:
    from stkit.testing.strategies import CONTRACT_SETTINGS

    assert isinstance(CONTRACT_SETTINGS, settings)
    assert CONTRACT_SETTINGS.deadline is None
