"""Configurations of the built-in heads. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stkit.plugin.config import HeadConfig


class ConvHeadConfig(HeadConfig):
    """One convolution from hidden states to a frame."""

    kernel: int = Field(1, ge=1)
    """Side in cells."""
    bias: bool = True
    """Add an offset to each channel."""
    reads: Literal["top", "all"] = "top"
    """The uppermost node, or all nodes' states together as in the Encoding-Forecasting ConvLSTM."""
    zero_init: bool = False
    """Start at zero output: with a departure from a baseline the model starts as the baseline."""
    activation: Literal["sigmoid"] | None = None
    """Squash the output, for fields within 0 and 1."""

    @property
    def reads_all(self) -> bool:
        """As ``reads`` says."""
        return self.reads == "all"
