"""The baselines that stand beside a model, made and fitted on the training part."""

from __future__ import annotations

from collections.abc import Sequence

from stkit.data.prepare import PreparedData
from stkit.evaluate.baselines import Baseline, chosen_kind
from stkit.evaluate.climatology import suitable_kind
from stkit.plugin.config import ComponentConfig

SEASONAL = ("persistence", "climatology", "damped_anomaly", "eof_linear")
"""What a model of a field with a season must beat."""
MOVING = ("persistence", "mean_frame", "damped_anomaly", "eof_linear", "extrapolation")
"""What a model of a field without one must beat: rain, traffic, digits."""


def fitted_baselines(chosen: Sequence[ComponentConfig] | None, data: PreparedData) -> dict[str, Baseline]:
    """Baselines by name, fitted.

    Args:
        chosen: the recipe's; None: those that fit the data.
        data: what they are fitted on.
    """
    entries = usual(data) if chosen is None else chosen
    return {one if isinstance(one, str) else one.name: data.baseline(one) for one in entries}


def usual(data: PreparedData) -> tuple[str, ...]:
    """The names of those that fit the data; those that know the cells of the training only where they are tested."""
    kind = chosen_kind(data.config) or suitable_kind(data.record.times)
    names = MOVING if kind == "mean" else SEASONAL
    return tuple(name for name in names if not (data.other_grid and data.knows_cells(name)))
