"""The ``evaluate:`` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stkit.plugin.config import Config, MetricConfig
from stkit.recipe.component import Component

MetricChoice = Annotated[MetricConfig, Component("metrics", base=MetricConfig, bare=True)]

_METRICS: Any = ("rmse", "mae", "bias", "acc_centred")


class EvaluateConfig(Config):
    """Which scores, against which baselines. The test part is used here and nowhere else."""

    metrics: tuple[MetricChoice, ...] = _METRICS
    """Scores, each by name or with its options: ``{name: csi, threshold: [1, 5]}``."""
    baselines: tuple[Literal["persistence", "climatology", "damped_anomaly", "optimal"], ...] = (
        "persistence",
        "climatology",
        "damped_anomaly",
    )
    """Always shown beside the model. ``optimal`` is the best possible forecast, for a field whose law is known
    (``synthetic_field``)."""
    batch_size: int = Field(8, ge=1)
    """Windows forecast at a time."""
    maps: int = Field(1, ge=0)
    """Test windows shown as maps in the report."""

    @property
    def scores(self) -> dict[str, MetricConfig]:
        """Every score by the name that says its options, in order."""
        return {name: config for entry in self.metrics for name, config in entry.scores().items()}
