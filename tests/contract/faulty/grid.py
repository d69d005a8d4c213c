"""Cells that fix a size, or mix what belongs to different samples, places or channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stkit.cells.base import CellSite

from .plain import Plain


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


FAULTS: list[tuple[type[Plain], str]] = [
    (FixesTheBatch, "shapes"),
    (FixesTheGrid, "shapes"),
    (ReshapesWithoutPermute, "translation"),
    (ReadsChannelsAsTokens, "translation"),
    (MixesTheBatch, "batch-independence"),
]
"""Each with a rule that catches it."""
