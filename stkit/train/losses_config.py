"""Configuration of the built-in losses. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from stkit.plugin.config import ComponentConfig


class MSEConfig(ComponentConfig):
    """Mean squared error over the valid cells of the predicted frames."""


class MAEConfig(ComponentConfig):
    """Mean absolute error over the valid cells of the predicted frames."""


class L1L2Config(ComponentConfig):
    """Weighted sum of absolute and squared error, as the PredRNN family trains with (Wang et al. 2017)."""

    l1_weight: float = Field(1.0, ge=0)
    """Weight of the mean absolute error."""
    l2_weight: float = Field(1.0, ge=0)
    """Weight of the mean squared error."""


class BCEConfig(ComponentConfig):
    """Cross-entropy of each cell as a probability (Shi et al. 2015); the head must end in a sigmoid."""
