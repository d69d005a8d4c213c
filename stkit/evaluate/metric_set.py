"""The scores that a recipe asks for, made and fitted."""

from __future__ import annotations

from collections.abc import Mapping

from stkit.data.prepare import PreparedData
from stkit.errors import PluginError
from stkit.evaluate.baselines import Climatology
from stkit.evaluate.metric import Metric, Training
from stkit.evaluate.metrics import MeanSquaredError
from stkit.evaluate.scores import SQUARED
from stkit.plugin.config import MetricConfig
from stkit.plugin.manager import plugins


def make_metrics(configs: Mapping[str, MetricConfig]) -> dict[str, Metric]:
    """The scores of a recipe by name, and the squared error that skill is made from.

    Raises:
        PluginError: what a plugin brings is no :class:`Metric`.
    """
    found: dict[str, Metric] = {}
    for name, config in configs.items():
        spec = plugins().resolve("metrics", config.name)
        metric = spec.load_target().from_config(config)
        if not isinstance(metric, Metric):
            raise PluginError(
                f"the score {spec.qualified_name!r} ({spec.distribution}): {spec.target} gives a "
                f"{type(metric).__name__}, expected a stkit.evaluate.metric.Metric"
            )
        found[name] = metric
    found.setdefault(SQUARED, MeanSquaredError())
    return found


def fit_metrics(metrics: Mapping[str, Metric], data: PreparedData, climatology: Climatology | None) -> None:
    """Let every score learn what it needs of the training part.

    Raises:
        DataError: the data do not suffice for a score, or it is for a variable that they do not have.
    """
    normal = None if climatology is None else climatology.normal
    valid = data.test.pipeline.valid.cpu().numpy()
    training = Training(data.record, data.tested.variables, data.tested.grid, normal, valid)
    for metric in metrics.values():
        metric.fit(training)
