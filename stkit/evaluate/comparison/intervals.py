"""95 % intervals of one run's scores and skill, by lead time: blocks of its test windows resampled.

They are made of the statistics that each score keeps of each window (:attr:`stkit.evaluate.metric.Metric.kept`): those
of resampled windows are added, and the score is made of the sum, as it is of all windows. They say what other test
windows like these would have given the same weights; nothing of other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from stkit.evaluate.comparison.blocks import FEWEST_BLOCKS, windows_of_block
from stkit.evaluate.comparison.difference import Estimate, Paired, paired
from stkit.evaluate.comparison.group import MODEL
from stkit.evaluate.comparison.sample import Sample, pooled
from stkit.evaluate.metric import Metric
from stkit.evaluate.scores import REFERENCES, SQUARED, Ends, Scores, VariableIntervals
from stkit.evaluate.window_errors import RunErrors

RESAMPLES = 1999
_TOO_MANY = "what it is made of is not kept for each window, as it is too much"


def with_intervals(
    scores: Scores, run: RunErrors, metrics: Mapping[str, Metric], *, resamples: int = RESAMPLES
) -> Scores:
    """The scores of a run with their intervals; the same statistics give the same numbers.

    Args:
        scores: of the run.
        run: the statistics of each window.
        metrics: the scores that have been used, by name; those without statistics of each window get no interval.
        resamples: how many resamples are drawn.
    """
    found = {
        variable.name: _of_variable(run, metrics, channel, resamples)
        for channel, variable in enumerate(run.layout.variables)
    }
    variables = {name: replace(one, intervals=found[name]) for name, one in scores.variables.items()}
    return replace(scores, variables=variables, intervals=convention(run))


def _of_variable(run: RunErrors, metrics: Mapping[str, Metric], channel: int, resamples: int) -> VariableIntervals:
    layout, block = run.layout, _block(run)
    long = run.windows >= FEWEST_BLOCKS * block
    baselines = [name for name in layout.forecasts if name != MODEL and name not in REFERENCES]
    nothing = Sample.of(np.zeros((1, run.windows, layout.horizon)), np.ones((run.windows, layout.horizon)))
    samples = {name: sample for name, metric in metrics.items() if (sample := _sample(run, name, metric, channel))}
    pairs = {name: (sample, nothing) for name, sample in samples.items()}
    against = {
        name: (samples[SQUARED], sample)
        for name in baselines
        if SQUARED in samples and (sample := _sample(run, SQUARED, metrics[SQUARED], channel, name))
    }
    differences = {
        name: paired(*both, block, resamples=resamples, dependent=layout.share_steps)
        for name, both in (pairs | against).items()
    }
    return VariableIntervals(
        scores={name: tuple(_ends(one, metrics[name]) for one in differences[name].by_lead) for name in pairs},
        skill={name: tuple(_skill(one) for one in differences[name].by_lead) for name in against},
        refused={
            **{name: _refusal(pair) for name, pair in differences.items() if long and not pair.ranked},
            **{name: _TOO_MANY for name, metric in metrics.items() if long and not metric.kept},
        },
    )


def _sample(run: RunErrors, score: str, metric: Metric, channel: int, forecast: str = MODEL) -> Sample | None:
    """What a score of one variable is made of; None where no statistics were kept, or it is not for this variable."""
    kept = run.statistics(score)
    if kept is None:
        return None
    sums = kept[run.layout.forecasts.index(forecast)]
    sample = Sample.of_sums(np.moveaxis(sums[..., channel], 1, 0)[None], pooled(metric, channel, sums.shape[-1]))
    return sample if np.isfinite(sample.means[:, 1:]).any() else None


def _block(run: RunErrors) -> int:
    """Windows that a block has at least: as many as share time steps."""
    layout = run.layout
    return windows_of_block(layout.starts, layout.input_steps + layout.horizon) if layout.share_steps else 1


def _refusal(pair: Paired) -> str:
    return (
        f"neighbouring windows are alike over {pair.block} windows, which leaves {pair.blocks:.2g} of the "
        f"{FEWEST_BLOCKS} blocks that an interval needs"
    )


def convention(run: RunErrors) -> str:
    """How the intervals are made, or why there are none, in a sentence or two."""
    block, span = _block(run), run.layout.input_steps + run.layout.horizon
    windows = f"{run.windows} test window{'s' if run.windows != 1 else ''}"
    if run.windows < FEWEST_BLOCKS * block:
        shared = f" of {span} time steps" if run.layout.share_steps else ""
        return (
            f"No 95 % intervals: {windows}{shared} make {run.windows / block:.2g} independent "
            f"block{'s' if run.windows > block else ''}, and an interval needs {FEWEST_BLOCKS}: "
            f"{FEWEST_BLOCKS * block} windows."
        )
    how = (
        f"circular moving blocks of at least {block} of the {windows} resampled"
        if run.layout.share_steps
        else f"the {windows} resampled, each by itself"
    )
    return f"95 % intervals: {how}. They are over windows, for these weights; another seed is another matter."


def _ends(one: Estimate, metric: Metric) -> Ends:
    """Within what the score can be; None where none can be given, or no window says anything but the others."""
    if one.low is None or one.high is None or one.low == one.high:
        return None
    least, greatest = metric.bounds
    return max(one.low, least), min(one.high, greatest)


def _skill(one: Estimate) -> Ends:
    """``1 - MSE / MSE of the baseline`` is the difference as a share of the baseline's, turned round."""
    relative = one.relative_interval()
    return None if relative is None else (-relative[1], -relative[0])
