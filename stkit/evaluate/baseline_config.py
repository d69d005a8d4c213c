"""Configuration of the built-in baselines. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from stkit.plugin.config import BaselineConfig, ComponentConfig


class FixedBaselineConfig(BaselineConfig):
    """A baseline without options."""


class EofLinearConfig(BaselineConfig):
    """A linear law of a few patterns (EOFs)."""

    modes: int | None = Field(None, ge=0)
    """How many EOFs; null: as many as forecast the last fifth of the training part best."""


class OptimalConfig(BaselineConfig):
    """The best possible forecast, for a field whose law is known (``synthetic_field``)."""

    def problems(self, dataset: ComponentConfig) -> Iterable[str]:
        """The law of the data must be known."""
        if not getattr(dataset, "optimum_known", False):
            yield (
                f"{self.name!r} is the best possible forecast by the law of the field, and nobody knows that of "
                f"{dataset.name!r}: leave it out, or take a field that is made by a law, such as synthetic_field"
            )
