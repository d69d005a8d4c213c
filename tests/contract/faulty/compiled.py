"""Cells that a compiler cannot take as one graph, or that it changes."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from .plain import Plain


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


FAULTS: list[tuple[type[Plain], str]] = [
    (CountsItsSteps, "writes-nothing"),
    (CountsItsSteps, "pure"),
    (CountsItsSteps, "compiles"),
    (BranchesOnValues, "compiles"),
    (WritesAsItGoes, "compiles"),
    (CutsEverySecondGradient, "compiles"),
    (DiffersWhenCompiled, "compiles"),
    (DetachesWhenCompiled, "compiles"),
]
"""Each with a rule that catches it."""
