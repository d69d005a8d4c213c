"""Configuration of the ConvLSTM cell. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stkit.api import CellConfig, Component, ComponentConfig


class ConvLSTMConfig(CellConfig):
    """ConvLSTM (Shi et al. 2015, equation 3)."""

    slots: ClassVar[tuple[str, ...]] = ("transition",)
    places: ClassVar[tuple[str, ...]] = ("h", "c")

    kernel: int = Field(5, ge=1)
    """Side of the state-to-state and input-to-state kernels, in cells."""
    peephole: Literal["channel", "pixel", "none"] = "channel"
    """How the gates look at the memory: one weight for each channel, for each channel and grid cell, or not at all."""
    bias: bool = True
    """Add an offset to each gate."""
    forget_bias: float = 0.0
    """Added to the forget gate before the sigmoid. A transition that the recipe names brings its own."""
    norm: Annotated[ComponentConfig, Component("modules", slot="norm")] | None = None
    """Normalise the response of each convolution before the sum."""
