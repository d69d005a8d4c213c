"""Measuring a recipe: a training step and a forecast in turns, medians and spread; memory, operations, start-up.

Axes: ``B`` batch, ``T`` time, ``C`` fields, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from stkit.bench.compare import FORMAT
from stkit.bench.count import launches, step_flops
from stkit.bench.generated import Generated
from stkit.bench.machine import done, machine, peak_flops
from stkit.bench.startup import startup_seconds
from stkit.run.record import now, versions
from stkit.stacks.captured import Forecasts
from stkit.train.device import make_accelerator
from stkit.train.held import Held, watch
from stkit.train.setup import Training, put_together
from stkit.train.step import optimiser_step
from stkit.train.trainer import callbacks_told

if TYPE_CHECKING:
    from stkit.recipe.loaded import LoadedRecipe
    from stkit.stacks.forecaster import Forecaster

DTYPES = {"no": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What is multiplied at each ``train.precision``; whether products of float32 are rounded is torch's own setting."""


def measure(loaded: LoadedRecipe, *, rounds: int = 5, seconds: float = 0.5, startup: bool = True) -> dict[str, Any]:
    """The record of a recipe on this machine.

    In each round training steps are taken for ``seconds``, at least one, then forecasts; the round's figure is the mean
    of them. A first round warms up and does not count. On a GPU both are replayed from graphs where they can be
    recorded; memory is that of the first step and the first forecast, in which they are.

    Args:
        loaded: the recipe.
        rounds: how many count.
        seconds: the least that each of the two takes in a round.
        startup: also measure a fresh process until the end of its first step.

    Raises:
        StkitError: the recipe does not fit its data or this machine.
    """
    recipe = loaded.recipe
    accelerator = make_accelerator(recipe.train.precision)
    device = accelerator.device
    data = Generated(recipe)
    training = put_together(loaded, accelerator, data)
    forecaster = training.objective.forecaster
    context, known = data.context(1, recipe.evaluate.batch_size)
    context, known = context.to(device), None if known is None else known.to(device)

    def train() -> None:
        training.step = 0  # the schedule and the sampling of the first step, however long it goes on
        optimiser_step(training, read=False)
        training.unread.clear()

    ahead = Forecasts(forecaster)

    @torch.no_grad()
    def forecast(by: Forecasts | Forecaster = ahead) -> None:
        forecaster.eval()
        by(context, recipe.data.horizon, known=known)
        forecaster.train()

    parts: dict[str, tuple[Callable[[], None], int]] = {
        "training": (train, recipe.train.batch_size),
        "forecast": (forecast, recipe.evaluate.batch_size),
    }
    with callbacks_told(training):
        found: dict[str, dict[str, Any]] = {}
        taken: dict[str, list[float]] = {name: [] for name in parts}
        held: dict[str, Held] = {}
        for name, (run, _) in parts.items():
            with watch(device) as held[name]:  # what an engine or a graph keeps is made at first
                run()
        for turn in range(rounds + 1):
            for name, (run, _) in parts.items():
                mean = _mean_seconds(run, device, seconds)
                if turn:
                    taken[name].append(mean)
        for name, (_, size) in parts.items():
            found[name] = {
                "seconds": statistics.median(taken[name]),
                "spread": [min(taken[name]), max(taken[name])],
                "sequences": size,
                "peak_bytes": held[name].most + _standing(training, with_optimiser=name == "training"),
            }
        forward, backward = _launches(training)
        found["training"] |= {"launches_forward": forward, "launches_backward": backward}
        found["forecast"]["launches_forward"] = launches(lambda: forecast(forecaster))
        _with_share(found, training, device)
    record = {
        "format": FORMAT,
        "recipe": loaded.name,
        "recipe_hash": loaded.hash,
        "date": now(),
        "machine": machine(device),
        "versions": versions(),
        "precision": recipe.train.precision,
        "engine": training.engine,
        "memory": training.memory,
        "parameters": sum(parameter.numel() for parameter in forecaster.parameters()),
        "rounds": rounds,
        **found,
    }
    return {**record, "startup": startup_seconds(loaded)} if startup else record


def _mean_seconds(run: Callable[[], None], device: torch.device, least: float) -> float:
    done(device)
    start, count = time.perf_counter(), 0
    while not count or time.perf_counter() - start < least:
        run()
        done(device)
        count += 1
    return (time.perf_counter() - start) / count


def _standing(training: Training, *, with_optimiser: bool) -> int:
    """Bytes that are there before and after."""
    tensors = list(training.objective.state_dict().values())
    if with_optimiser:
        states = training.optimiser.optimizer.state.values()
        tensors += [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _launches(training: Training) -> tuple[int, int]:
    """Operations of the rollout with its loss, and of its gradient."""
    batch, forward = training.batches[0], 0
    losses: list[torch.Tensor] = []
    device = training.accelerator.device

    def rollout() -> None:
        given = {name: value.to(device) for name, value in batch.items()}
        losses.append(sum((total for total, _ in training.objective(given).values()), torch.zeros((), device=device)))

    with training.accelerator.autocast():
        forward = launches(rollout)
    backward = launches(lambda: torch.autograd.backward(losses[0]))
    training.objective.zero_grad(set_to_none=True)
    return forward, backward


def _with_share(found: dict[str, dict[str, Any]], training: Training, device: torch.device) -> None:
    """Put in the share of the peak: the arithmetic of direct convolutions, over the time and the measured peak."""
    recipe = training.recipe
    dtype = DTYPES[recipe.train.precision]
    batch = training.batches[0]
    forecaster = training.objective.forecaster
    flops = step_flops(forecaster, batch["frames"], recipe.data.input_steps, batch.get("known"))
    peak = peak_flops(device, dtype)
    found["training"] |= {
        "flops": flops,
        "peak_flops_per_second": peak,
        "share_of_peak": flops / found["training"]["seconds"] / peak,
    }
