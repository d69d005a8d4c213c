"""The ``evaluate:`` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from stkit.plugin.config import BaselineConfig, Config, MetricConfig
from stkit.recipe.component import Component

MetricChoice = Annotated[MetricConfig, Component("metrics", base=MetricConfig, bare=True)]
BaselineChoice = Annotated[BaselineConfig, Component("baselines", base=BaselineConfig, bare=True)]

_METRICS: Any = ("rmse", "mae", "bias", "acc_centred")


class EvaluateConfig(Config):
    """Which scores, against which baselines. The test part is used here and nowhere else."""

    metrics: tuple[MetricChoice, ...] = _METRICS
    """Scores, each by name or with its options: ``{name: csi, threshold: [1, 5]}``."""
    baselines: tuple[BaselineChoice, ...] | None = None
    """Always shown beside the model, each by name or with its options; null: those that fit the data. Where there is a
    season: persistence, climatology, damped_anomaly and eof_linear; elsewhere: persistence, mean_frame, damped_anomaly,
    eof_linear and extrapolation."""
    batch_size: int = Field(8, ge=1)
    """Windows forecast at a time."""
    maps: int = Field(1, ge=0)
    """Test windows shown as maps in the report."""

    @property
    def scores(self) -> dict[str, MetricConfig]:
        """Every score by the name that says its options, in order."""
        return {name: config for entry in self.metrics for name, config in entry.scores().items()}
