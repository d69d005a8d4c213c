"""The ``evaluate:`` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stkit.plugin.config import Config


class EvaluateConfig(Config):
    """Which scores, against which baselines. The test part is used here and nowhere else."""

    metrics: tuple[str, ...] = ("rmse", "mae", "bias", "acc_centred")
    """Registered scores, by name."""
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
