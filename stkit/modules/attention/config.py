"""Configurations of the built-in attention modules. Imports no torch."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from stkit.plugin.config import AttentionConfig


class SelfAttentionConfig(AttentionConfig):
    """Self-attention over the cells of the grid (Lin et al. 2020, the base model)."""

    takes_depth: ClassVar[bool] = True

    key_channels: int | None = Field(None, ge=1)
    """Channels of queries and keys (the paper gives no number); null: half of the signal's."""
    residual: bool = True
    """Add the signal to what was found, as printed."""
    bias: bool = False
    """Add offsets to all projections. That of the keys then learns nothing: a softmax does not see it."""


class SelfAttentionMemoryConfig(AttentionConfig):
    """Self-attention with a memory of its own (Lin et al. 2020, the SAM module)."""

    remembers: ClassVar[bool] = True

    key_channels: int | None = Field(None, ge=1)
    """Channels of queries and keys (the paper gives no number); null: half of the signal's."""
    kernel: int = Field(3, ge=1)
    """Side in cells of the gates' convolutions (the paper gives no number)."""
    separable: bool = True
    """The gates' convolutions are depth-wise separable, as printed; else plain ones."""
    project_found: bool = False
    """Project what was found in the signal and in the memory once more, each by itself; not in the paper."""
    wide_fusion: bool = False
    """The fusion of both keeps all their channels; in the paper it has those of the signal."""
    bias: bool = False
    """Add offsets to all projections, too, not to the gates alone. Those of the keys learn nothing."""
