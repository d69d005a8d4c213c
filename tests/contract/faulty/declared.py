"""Cells that do not keep to what they or their configuration declare."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from stkit.cells.base import CellSite, StepOut, Tensors

from .plain import Plain, PlainConfig


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


FAULTS: list[tuple[type[Plain], str]] = [
    (SwallowsTheCarry, "carry-as-declared"),
    (WritesUndeclared, "carry-as-declared"),
    (RaisesAnotherEntry, "out-key"),
    (CallsItAnotherName, "places-as-declared"),
    (DeclaresAFormOfItsOwn, "places-as-declared"),
    (SharesAWeight, "saves"),
    (TakesAnOptionAndIgnoresIt, "options-act"),
]
"""Each with a rule that catches it."""
