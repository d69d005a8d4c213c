"""One optimiser step: the part of training where numbers are made."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import torch

from stkit.errors import RunFailed
from stkit.train.device import total, vector
from stkit.train.objective import reversed_in_time, split
from stkit.train.optimiser import set_learning_rate
from stkit.train.sampling import tokens
from stkit.train.schedule import factor
from stkit.train.setup import Training, on_device, passes, seed_everything


class StepResult(NamedTuple):
    """What one step gave; the same on every process."""

    loss: float
    terms: dict[str, float]
    """The loss's terms, which add up to it."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    interrupted: bool
    """Whether some process was asked to stop."""


def optimiser_step(training: Training, *, interrupted: bool = False) -> StepResult:
    """Train on the batch of the next step, which is a function of the seed and the step alone.

    The gradient is that of ``sum over terms (sum over the whole batch / count over the whole batch)``: each part of
    each process divides by the count of all of them, and as processes average their gradients, times their number.

    Raises:
        RunFailed: the loss or its gradient is not finite; the optimiser has not moved then.
    """
    accelerator, config, step = training.accelerator, training.recipe.train, training.step
    number, backwards = divmod(step, passes(training.recipe))
    batch = on_device(training.batches[number], accelerator.device, training.objective.loss)
    shown = tokens(
        config.sampling,
        step=step,
        draw=number,
        seed=training.recipe.seed,
        share=training.share,
        global_batch=config.batch_size,
        frames=batch["frames"].shape[1],
        context_steps=training.recipe.data.input_steps,
    )
    shown = None if shown is None else shown.to(accelerator.device)
    if backwards:
        batch = reversed_in_time(batch)
    seed_everything(training.recipe.seed, step, accelerator.process_index)

    parts = split(batch, shown, config.accumulate)
    counts = training.objective.counts(batch)
    names = list(counts)
    flag = torch.tensor(float(interrupted), device=accelerator.device)
    reduced = total(accelerator, vector([*counts.values(), flag], accelerator.device))
    divisors = reduced[:-1].clamp(min=1.0)

    learning_rate = config.optimiser.lr * factor(config.schedule, step, config.steps)
    set_learning_rate(training.optimiser, learning_rate)
    training.optimiser.zero_grad(set_to_none=not training.passes.keeps_gradients)
    sums = torch.zeros(len(names), dtype=reduced.dtype, device=accelerator.device)
    for number_of_part, (part, part_tokens) in enumerate(parts):
        last = number_of_part == len(parts) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(training.prepared_objective):
            sums += training.passes(part, part_tokens, accelerator.num_processes / divisors)
    limit = math.inf if config.clip_norm is None else config.clip_norm
    norm = accelerator.clip_grad_norm_(training.prepared_objective.parameters(), limit)
    means = total(accelerator, sums) / divisors
    *values, gradient_norm, stop = torch.cat([means, vector([norm, reduced[-1]], accelerator.device)]).tolist()
    _require_finite(step + 1, dict(zip(names, values, strict=True)), gradient_norm, scaled=config.precision == "fp16")

    training.optimiser.step()
    training.step = step + 1
    if training.ema is not None:
        training.ema.update(training.objective.forecaster, step=training.step)
    return StepResult(math.fsum(values), dict(zip(names, values, strict=True)), gradient_norm, learning_rate, stop > 0)


def _require_finite(step: int, terms: dict[str, float], gradient_norm: float, *, scaled: bool) -> None:
    bad = {name: value for name, value in terms.items() if not math.isfinite(value)}
    if bad:
        told = ", ".join(f"{name} = {value}" for name, value in bad.items())
        raise RunFailed(
            f"the loss is not finite at step {step} ({told}); the optimiser did not take that step. "
            "A lower train.optimiser.lr, a longer warm-up or train.clip_norm may help"
        )
    # With fp16 a gradient that overflows is expected: its scaler leaves the step out and lowers the scale.
    if not scaled and not math.isfinite(gradient_norm):
        raise RunFailed(
            f"the gradient is not finite at step {step} (norm {gradient_norm}); the optimiser did not take that step. "
            "A lower train.optimiser.lr or a longer warm-up may help"
        )
