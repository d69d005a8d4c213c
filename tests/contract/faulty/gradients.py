"""Cells whose parameters get no gradient, or through which none goes back."""

from __future__ import annotations

from torch import Tensor, nn

from stkit.cells.base import CellSite, StepOut, Tensors

from .plain import Plain


class HasADeadParameter(Plain):
    """A convolution that nothing calls."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site)
        self.spare = nn.Conv2d(site.width, site.width, 1, device=site.device, dtype=site.dtype)


class HandsOnTheOldCarry(Plain):
    """As in a released E3D-LSTM: the spatial memory is computed, and the carry stays zero for ever."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site)
        self.read = nn.Conv2d(site.width, site.width, 1, bias=False, device=site.device, dtype=site.dtype)

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        out = super().step(x, state, {**carry, "m": self.read(carry["m"])})
        return out._replace(carry=dict(carry))


class CutsBackPropagation(Plain):
    """The memory is detached between two steps."""

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return super().memories(seen, c.detach(), m)


FAULTS: list[tuple[type[Plain], str]] = [
    (HasADeadParameter, "gradients"),
    (HandsOnTheOldCarry, "gradients"),
    (CutsBackPropagation, "gradcheck"),
]
"""Each with a rule that catches it."""
