"""One optimiser step: the part of training where numbers are made."""

from __future__ import annotations

import contextlib
import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from stkit.errors import RunFailed
from stkit.train.device import total, vector
from stkit.train.objective import reversed_in_time, split
from stkit.train.optimiser import set_learning_rate
from stkit.train.sampling import tokens
from stkit.train.schedule import factor
from stkit.train.setup import Training, on_device, passes, seed_everything


class Unread(NamedTuple):
    """What a step gave that is still on its device: reading it would wait for the device to be done."""

    step: int
    """Number of the step, from 1."""
    numbers: Tensor
    """The loss's terms, the norm of the gradient, and whether some process was asked to stop; float64."""
    terms: tuple[str, ...]
    learning_rate: float


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


def optimiser_step(training: Training, *, interrupted: bool = False, read: bool = True) -> StepResult | None:
    """Train on the batch of the next step, which is a function of the seed and the step alone.

    The gradient is that of ``sum over terms (sum over the whole batch / count over the whole batch)``: each part of
    each process divides by the count of all of them, and as processes average their gradients, times their number.

    Args:
        training: goes on by a step.
        interrupted: this process was asked to stop.
        read: wait for the result; otherwise it is kept for the next step that reads, or for :func:`read_results`.

    Raises:
        RunFailed: the loss or its gradient is not finite, at this step or at one that was not read. The optimiser has
            not moved at a step that is read.
    """
    start = time.perf_counter()
    accelerator, config, step = training.accelerator, training.recipe.train, training.step
    number, backwards = divmod(step, passes(training.recipe))
    training.behind.keep_up()
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
    shown = None if shown is None else shown.to(accelerator.device, non_blocking=True)
    if backwards:
        batch = reversed_in_time(batch)
    seed_everything(training.recipe.seed, step, accelerator.process_index)

    parts = split(batch, shown, config.accumulate)
    counts = training.objective.counts(batch)
    names = list(counts)
    flag = torch.full((), float(interrupted), device=accelerator.device)
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
    numbers = torch.cat([means, vector([norm, reduced[-1]], accelerator.device)])
    training.unread.append(Unread(step + 1, numbers, tuple(names), learning_rate))
    result = read_results(training) if read else None

    training.optimiser.step()
    training.step = step + 1
    if training.ema is not None:
        training.ema.update(training.objective.forecaster, step=training.step)
    training.behind.given()
    training.step_seconds += time.perf_counter() - start
    return result


def read_results(training: Training) -> StepResult | None:
    """Read what the steps since the last reading gave, and add up their losses; the last one's, None if there is none.

    Raises:
        RunFailed: a loss or a gradient is not finite.
    """
    result = None
    unread, training.unread = training.unread, []
    for told in unread:
        *values, gradient_norm, stop = told.numbers.tolist()
        terms = dict(zip(told.terms, values, strict=True))
        moved = training.step >= told.step
        _require_finite(told.step, terms, gradient_norm, scaled=training.recipe.train.precision == "fp16", moved=moved)
        result = StepResult(math.fsum(values), terms, gradient_norm, told.learning_rate, stop > 0)
        training.loss_sum += result.loss
        training.loss_steps += 1
    return result


def _require_finite(step: int, terms: dict[str, float], gradient_norm: float, *, scaled: bool, moved: bool) -> None:
    after = "no checkpoint has what came after it" if moved else "the optimiser did not take that step"
    bad = {name: value for name, value in terms.items() if not math.isfinite(value)}
    if bad:
        told = ", ".join(f"{name} = {value}" for name, value in bad.items())
        raise RunFailed(
            f"the loss is not finite at step {step} ({told}); {after}. "
            "A lower train.optimiser.lr, a longer warm-up or train.clip_norm may help"
        )
    # With fp16 a gradient that overflows is expected: its scaler leaves the step out and lowers the scale.
    if not scaled and not math.isfinite(gradient_norm):
        raise RunFailed(
            f"the gradient is not finite at step {step} (norm {gradient_norm}); {after}. "
            "A lower train.optimiser.lr or a longer warm-up may help"
        )
