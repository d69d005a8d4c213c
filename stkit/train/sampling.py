"""Which true frames the model is shown in training: scheduled and reverse scheduled sampling.

A window has ``T`` frames; the first is always shown and the last never. The ``T - 2`` tokens in between say, for the
input of time step ``t = 1 .. T-2``, whether it is the true frame (True) or the model's own forecast of it (False).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from stkit.recipe.sections.train import NoSampling, ReverseScheduledSampling, SamplingChoice, ScheduledSampling

_STREAM = 0x70_6B_6E
"""Keeps the tokens' random numbers apart from other uses of the same seed."""


def probabilities(sampling: SamplingChoice, step: int) -> tuple[float, float]:
    """Probability of a true frame in the context part and in the forecast part at an optimiser step (from 0).

    Scheduled sampling (Bengio et al. 2015, linear decay): the context is always shown; in the forecast part
    ``start - decrease_per_step * step``, not below 0, and 0 from ``stop_step`` on.

    Reverse scheduled sampling (PredRNN-V2, Wang et al. 2021), with ``S1 = first_step``, ``S2 = second_step``,
    ``alpha = decay_steps``:

    - ``step < S1``: both 0.5;
    - ``S1 <= step < S2``: context ``1 - 0.5 exp(-(step - S1)/alpha)``, forecast ``0.5 - 0.5 (step - S1)/(S2 - S1)``;
    - ``step >= S2``: context 1, forecast 0.
    """
    match sampling:
        case NoSampling():
            return 1.0, 0.0
        case ScheduledSampling(start=start, decrease_per_step=decrease, stop_step=stop):
            return 1.0, max(0.0, start - decrease * step) if step < stop else 0.0
        case ReverseScheduledSampling(first_step=first, second_step=second, decay_steps=decay):
            # The end comes first: with second_step <= first_step there is no middle phase.
            if step >= second:
                return 1.0, 0.0
            if step < first:
                return 0.5, 0.5
            return 1.0 - 0.5 * math.exp(-(step - first) / decay), 0.5 - 0.5 * (step - first) / (second - first)


def tokens(
    sampling: SamplingChoice,
    *,
    step: int,
    seed: int,
    share: slice,
    global_batch: int,
    frames: int,
    context_steps: int,
    draw: int | None = None,
) -> Tensor | None:
    """The tokens of one process's share of the batch: ``B T-2`` bool; None without sampling (the context is shown).

    They are a function of the seed, the step and a sample's position in the global batch alone, so that they do not
    depend on the number of processes.

    Args:
        step: optimiser step, from 0; sets the probabilities.
        seed: of the recipe.
        share: the process's positions in the global batch.
        global_batch: windows of the whole batch.
        frames: ``T``, context and horizon together.
        context_steps: frames that the model is given when it forecasts.
        draw: number of the batch where it is not ``step`` (a batch that is trained twice has the same draw twice).
    """
    if isinstance(sampling, NoSampling):
        return None
    in_context, in_forecast = probabilities(sampling, step)
    generator = np.random.default_rng([seed, step if draw is None else draw, _STREAM])
    uniform = generator.random((global_batch, max(frames - 2, 0)))[share]
    threshold = np.full(uniform.shape[1], in_forecast)
    threshold[: context_steps - 1] = in_context
    return torch.from_numpy(uniform < threshold)
