"""What can be said of scores and baselines before a model is trained for hours."""

from __future__ import annotations

from stkit.data.prepare import PreparedData
from stkit.errors import DataError
from stkit.evaluate.baselines import make_baseline
from stkit.evaluate.metric_set import make_metrics
from stkit.recipe.sections.evaluate import EvaluateConfig


def check_evaluation(config: EvaluateConfig, data: PreparedData) -> None:
    """Refuse scores and baselines that do not fit the data, or need what is not installed.

    Raises:
        DataError: a score or a baseline does not fit.
        UsageError: a library is missing.
    """
    names = [variable.name for variable in data.source.variables]
    for entry in config.metrics:
        for sentence in entry.problems(names):
            raise DataError(f"evaluate.metrics: {sentence}")
    make_metrics(config.scores)
    for chosen in config.baselines or ():
        data.check_baseline(chosen.name)
        make_baseline(chosen, data.config)
