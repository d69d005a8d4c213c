"""Configuration of the built-in losses. Imports no torch."""

from __future__ import annotations

import itertools
from typing import Annotated, Self

from pydantic import Field, model_validator

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


class BalancedConfig(ComponentConfig):
    """Absolute and squared error, each cell weighted by how much it rained there (Shi et al. 2017: B-MAE, B-MSE).

    The weight of a cell is that of the class its true value falls in, in the field's own units; the errors are those of
    the model's space, as in the paper. The defaults are the paper's.
    """

    units: str = "mm/h"
    """Of the thresholds; a field in other units is refused."""
    thresholds: tuple[float, ...] = Field((2.0, 5.0, 10.0, 30.0), min_length=1)
    """Where the classes of the true value begin; each threshold belongs to the class above it."""
    weights: tuple[Annotated[float, Field(ge=0)], ...] = (1.0, 2.0, 5.0, 10.0, 30.0)
    """Of the class below the first threshold, of that between the first and the second, and so on."""
    l1_weight: float = Field(1.0, ge=0)
    """Weight of the balanced mean absolute error; 0 leaves it out."""
    l2_weight: float = Field(1.0, ge=0)
    """Weight of the balanced mean squared error; 0 leaves it out."""

    @model_validator(mode="after")
    def _classes(self) -> Self:
        if any(after <= before for before, after in itertools.pairwise(self.thresholds)):
            told = ", ".join(f"{value:g}" for value in self.thresholds)
            raise ValueError(f"thresholds must increase, received {told}")
        classes = len(self.thresholds) + 1
        if len(self.weights) != classes:
            raise ValueError(
                f"{len(self.thresholds)} thresholds make {classes} classes, and each needs a weight, "
                f"but there are {len(self.weights)} weights"
            )
        if not any(self.weights) or not self.l1_weight + self.l2_weight:
            raise ValueError("every weight is 0: nothing would be learned")
        return self
