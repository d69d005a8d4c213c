"""Cells that compute in a precision or on a device of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from stkit.cells.base import CellSite, Tensors

from .plain import Plain


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


class ForgetsTheDevice(Plain):
    """The constructor ignores device and dtype of its site."""

    def __init__(self, site: CellSite) -> None:
        super().__init__(site._replace(device=None))


FAULTS: list[tuple[type[Plain], str]] = [
    (FixesFloat32, "dtype"),
    (ComputesInFloat32, "dtype"),
    (NeedsOneDevice, "meta-device"),
    (MovesToTheCpu, "meta-device"),
    (ForgetsTheDevice, "meta-device"),
]
"""Each with a rule that catches it."""
