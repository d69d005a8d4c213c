"""95 % intervals of one run's scores and skill, by lead time: blocks of its test windows resampled.

They say what other test windows like these would have given the same weights; nothing of other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stkit.evaluate.comparison.blocks import FEWEST_BLOCKS, windows_of_block
from stkit.evaluate.comparison.difference import Estimate, Paired, paired
from stkit.evaluate.comparison.group import MODEL, of_run
from stkit.evaluate.comparison.sample import Sample
from stkit.evaluate.metric import Array
from stkit.evaluate.scores import REFERENCES
from stkit.evaluate.window_errors import RunErrors

RESAMPLES = 1999
_LOSSES = ("mse", "mae")

Ends = tuple[float, float] | None
"""Lower and upper end; None where no interval can be given."""


@dataclass(frozen=True)
class VariableIntervals:
    """Intervals of one variable, by lead time."""

    scores: Mapping[str, tuple[Ends, ...]]
    """Of the model's ``rmse``, ``mse`` and ``mae``, and of the same summed over a frame where that is defined."""
    skill: Mapping[str, tuple[Ends, ...]]
    """Of the skill against each baseline."""
    refused: Mapping[str, str]
    """Why there is none: by ``mse``, ``mae`` or the name of a baseline, half a sentence. Empty
    where the whole test part is too short, which the convention tells."""


@dataclass(frozen=True)
class Intervals:
    """Intervals of one run."""

    variables: Mapping[str, VariableIntervals]
    convention: str
    """How they are made, or why there are none, in a sentence or two."""

    @property
    def any(self) -> bool:
        """Whether there is one at all."""
        found = [rows for one in self.variables.values() for rows in (*one.scores.values(), *one.skill.values())]
        return any(ends is not None for row in found for ends in row)


def intervals(run: RunErrors, *, resamples: int = RESAMPLES) -> Intervals:
    """The intervals of a run; the same errors give the same numbers."""
    layout = run.layout
    span = layout.input_steps + layout.horizon
    block = windows_of_block(layout.starts, span) if layout.share_steps else 1
    long = run.windows >= FEWEST_BLOCKS * block
    baselines = [name for name in layout.forecasts if name != MODEL and name not in REFERENCES]
    found = {}
    for channel, variable in enumerate(layout.variables):
        weight = run.errors.weight[..., channel]
        squared, absolute = (Sample.of(of_run(run, score, MODEL)[None, ..., channel], weight) for score in _LOSSES)
        nothing = Sample.of(np.zeros((1, *weight.shape)), weight)
        against = {name: Sample.of(of_run(run, "mse", name)[None, ..., channel], weight) for name in baselines}
        pairs = {
            name: paired(first, second, block, resamples=resamples, dependent=layout.share_steps)
            for name, first, second in (
                ("mse", squared, nothing),
                ("mae", absolute, nothing),
                *((name, squared, sample) for name, sample in against.items()),
            )
        }
        found[variable.name] = VariableIntervals(
            scores=_scores(pairs["mse"].by_lead, pairs["mae"].by_lead, weight),
            skill={name: _skill(pairs[name].by_lead) for name in baselines},
            refused={name: _refusal(pair) for name, pair in pairs.items() if long and not pair.ranked},
        )
    return Intervals(found, _convention(run, block, span))


def _refusal(pair: Paired) -> str:
    return (
        f"neighbouring windows are alike over {pair.block} windows, which leaves {pair.blocks:.2g} of the "
        f"{FEWEST_BLOCKS} blocks that an interval needs"
    )


def _convention(run: RunErrors, block: int, span: int) -> str:
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


def _scores(
    squared: tuple[Estimate, ...], absolute: tuple[Estimate, ...], weight: Array
) -> dict[str, tuple[Ends, ...]]:
    mse, mae = (tuple(_ends(one) for one in estimates) for estimates in (squared, absolute))
    found = {
        "mse": mse,
        "mae": mae,
        "rmse": tuple(None if ends is None else (math.sqrt(ends[0]), math.sqrt(ends[1])) for ends in mse),
    }
    cells = weight.flat[0] if weight.size else 0.0
    if cells > 0 and cells == round(cells) and (weight == cells).all():
        # As many cells of weight 1 in every frame: a sum over the frame is so many times the mean.
        found["mse_per_frame"] = tuple(_times(ends, cells) for ends in mse)
        found["mae_per_frame"] = tuple(_times(ends, cells) for ends in mae)
    return found


def _times(ends: Ends, factor: float) -> Ends:
    return None if ends is None else (factor * ends[0], factor * ends[1])


def _ends(one: Estimate) -> Ends:
    """Of a loss, which is never below 0."""
    return None if one.low is None or one.high is None else (max(one.low, 0.0), one.high)


def _skill(estimates: tuple[Estimate, ...]) -> tuple[Ends, ...]:
    """``1 - MSE / MSE of the baseline`` is the difference as a share of the baseline's, turned round."""
    found: list[Ends] = []
    for one in estimates:
        relative = one.relative_interval()
        found.append(None if relative is None else (-relative[1], -relative[0]))
    return tuple(found)
