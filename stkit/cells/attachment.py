"""What can be attached to a place of a cell, such as self-attention on its hidden state.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class AttachmentSite(NamedTuple):
    """Where an attachment stands: what the target of a module for the slot ``attention`` is built from."""

    channels: int
    """Of the signal at that place."""
    device: torch.device | None = None
    dtype: torch.dtype | None = None
    depth: int = 0
    """Slices of the signal where it is ``B C D H W``; 0: it is ``B C H W``."""


class Attachment(nn.Module):
    """``(signal, state) -> (signal, state)``, with the channels and the grid of the signal kept.

    Attributes:
        channels: of the signal.
    """

    channels: int

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Zeros for what it remembers; empty if it remembers nothing."""
        return {}

    def forward(self, signal: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The signal ``B C *grid`` as it goes on, and the new state."""
        raise NotImplementedError
