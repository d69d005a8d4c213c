"""Configurations of the built-in norms. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from stkit.plugin.config import ComponentConfig


class ChannelNormConfig(ComponentConfig):
    """Moments over channels and grid together; one gain and offset for each channel, so that any grid fits."""

    eps: float = Field(1e-5, gt=0)
    """Added to the variance."""


class PixelNormConfig(ComponentConfig):
    """Moments over channels and grid together; a gain and offset for each channel and grid cell: fixes the grid."""

    eps: float = Field(1e-5, gt=0)
    """Added to the variance."""
