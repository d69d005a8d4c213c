"""The training loop: counted in optimiser steps, and it names no model, dataset or metric."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stkit.errors import CheckpointError
from stkit.run.files import told_when_full
from stkit.train import checkpoint as checkpoints
from stkit.train.callbacks import CallbackContext
from stkit.train.device import make_accelerator, on_main
from stkit.train.progress import ProgressDisplay
from stkit.train.setup import Training, assemble
from stkit.train.step import StepResult, optimiser_step, read_results
from stkit.train.stopping import Interrupt, interruptible
from stkit.train.validation import validate

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from stkit.recipe import LoadedRecipe
    from stkit.run.directory import RunDirectory


LOG = logging.getLogger("stkit.train")
_INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class TrainResult:
    """How training ended."""

    outcome: Literal["finished", "stopped"]
    """``stopped``: by the user or the scheduler; it can be resumed."""
    step: int
    """Finished optimiser steps."""
    best_step: int | None
    """Step of the weights that are evaluated; None without validation: the last ones."""
    reason: str | None = None
    """Why it ended before its last step."""
    signal: int | None = None
    """The signal that stopped it, on the process that received it."""


def train(
    loaded: LoadedRecipe, run: RunDirectory, *, resume: bool = False, accelerator: Accelerator | None = None
) -> TrainResult:
    """Train a recipe in a run directory.

    Args:
        loaded: the recipe.
        run: where checkpoints and metrics go.
        resume: go on from the latest checkpoint, bit for bit on CPU.
        accelerator: null: made from the recipe's precision and what the launcher set up.

    Raises:
        RunFailed: a loss that is not finite, or a full disk. Earlier checkpoints stay.
        CheckpointError: there is nothing to resume, or it is damaged or another recipe's.
        UsageError: the recipe does not fit its data or this machine.
    """
    return fit(assemble(loaded, accelerator or make_accelerator(loaded.recipe.train.precision)), run, resume=resume)


def fit(training: Training, run: RunDirectory, *, resume: bool = False) -> TrainResult:
    """Train what :func:`stkit.train.setup.assemble` put together; see :func:`train`."""
    training.run = run
    if resume:
        restore_latest(training)
    on_main(training.accelerator, lambda: describe_training(training))
    config, main = training.recipe.train, training.accelerator.is_main_process
    context = callback_context(training)
    display = ProgressDisplay(training.step, config.steps, shown=main)
    reason: str | None = None
    with interruptible() as interrupt, display, closing(training.batches):
        for callback in training.callbacks:
            callback.on_start(context)
        while training.step < config.steps and not training.best.exhausted(config.early_stopping):
            asked = interrupt.signal is not None
            result = optimiser_step(training, interrupted=asked, read=asked or reads_next(training))
            context.step = training.step
            for callback in training.callbacks:
                callback.on_step(context)
            if result is not None:
                note_loss(training, result, display)
            final = training.step == config.steps
            improved = validated(training, display, context) if final or due(training, "evaluate") else False
            reason = reason_to_stop(training, result, interrupt, context)
            if improved or final or reason or due(training, "checkpoint"):
                read_results(training)  # a checkpoint has no step whose loss was not looked at
                save(training, best=improved)
            if reason:
                break
        training.batches.rest()
        for callback in training.callbacks:
            callback.on_end(context)
    if main:
        waited = training.batches.waited_seconds / max(training.step_seconds, 1e-9)
        run.update_record(graph=training.passes.told, waiting_share=round(waited, 4))
    return TrainResult(
        outcome="stopped" if reason is _INTERRUPTED else "finished",
        step=training.step,
        best_step=training.best.step,
        reason=reason or (early_stop(training) if training.step < config.steps else None),
        signal=interrupt.signal,
    )


What = Literal["evaluate", "checkpoint", "log"]


def due(training: Training, what: What, *, ahead: int = 0) -> bool:
    """Whether ``<what>_every_steps`` have passed, or will have in ``ahead`` steps."""
    every: int = getattr(training.recipe.train, f"{what}_every_steps")
    return (training.step + ahead) % every == 0


def reads_next(training: Training) -> bool:
    """Whether the next step's result is looked at when it is made.

    On a CPU it is there already. A GPU works behind the program that commands it, which would have to wait: there
    results are read where something is due that needs them.
    """
    if not _works_behind(training.accelerator.device) or training.step + 1 == training.recipe.train.steps:
        return True
    kinds: tuple[What, ...] = ("evaluate", "checkpoint", "log")
    return any(due(training, what, ahead=1) for what in kinds)


def _works_behind(device: torch.device) -> bool:
    return device.type != "cpu"


def reason_to_stop(
    training: Training, result: StepResult | None, interrupt: Interrupt, context: CallbackContext
) -> str | None:
    """Why training ends here; None where it goes on. Every process comes to the same answer."""
    alone = training.accelerator.num_processes == 1
    if (result is not None and result.interrupted) or (alone and interrupt.signal is not None):
        return _INTERRUPTED
    if training.best.exhausted(training.recipe.train.early_stopping):
        return early_stop(training)
    return context.stop_reason


def early_stop(training: Training) -> str:
    """Early stopping in words."""
    return f"no improvement in {training.best.waited} validations; best at step {training.best.step}"


def note_loss(training: Training, result: StepResult, display: ProgressDisplay) -> None:
    """Show the step, and write a line of metrics where one is due: the mean loss since the last one."""
    display.advance(training.step, training.loss_sum / training.loss_steps)
    if not (due(training, "log") or training.step == training.recipe.train.steps):
        return
    loss = training.loss_sum / training.loss_steps
    training.loss_sum, training.loss_steps = 0.0, 0
    waiting = training.batches.waited_seconds / max(training.step_seconds, 1e-9)
    if training.accelerator.is_main_process:
        training.run.append_metrics(
            step=training.step,
            kind="train",
            loss=loss,
            terms=result.terms,
            lr=result.learning_rate,
            grad_norm=result.gradient_norm,
            seconds=round(display.seconds, 3),
            steps_per_second=round(display.rate(training.step), 4),
            waiting_share=round(waiting, 4),
        )
    display.logged(training.step, loss, result.learning_rate, waiting)


def validated(training: Training, display: ProgressDisplay, context: CallbackContext) -> bool:
    """Validate, note the result; returns whether it is the best so far."""
    if not len(training.data.validation):
        return False
    start = time.monotonic()
    terms = validate(training)
    loss = math.fsum(terms.values())
    best = training.best.update(loss, training.step, training.recipe.train.early_stopping)
    if training.accelerator.is_main_process:
        training.run.append_metrics(
            step=training.step,
            kind="validation",
            loss=loss,
            terms=terms,
            best=best,
            seconds=round(display.seconds, 3),
            validation_seconds=round(time.monotonic() - start, 3),
        )
    display.validated(training.step, loss, best)
    for callback in training.callbacks:
        callback.on_validation(context, {"loss": loss})
    return best


def save(training: Training, *, best: bool) -> None:
    """Write a checkpoint, once for all processes."""

    def write() -> None:
        folder = training.run.checkpoints
        path = checkpoints.save(folder, training.snapshot())
        if best:
            checkpoints.point(folder, "best", path.name, training.step, loss=training.best.loss)
        checkpoints.prune(folder)
        found = training.best
        training.run.update_record(
            step=training.step, best_step=found.step, best_loss=found.loss if found.step is not None else None
        )

    on_main(training.accelerator, write)


def restore_latest(training: Training) -> None:
    """Go back to the run's latest checkpoint.

    Raises:
        CheckpointError: there is none, or it is damaged or another recipe's.
    """
    folder = training.run.checkpoints
    path = checkpoints.find(folder, "latest")
    if path is None:
        raise CheckpointError(
            f"{folder}: no checkpoint to resume from; `stkit recipe {training.run.path}` starts it again"
        )
    training.restore(checkpoints.load(path, recipe_hash=training.loaded.hash))
    on_main(training.accelerator, lambda: training.run.rewind_metrics(training.step))


def describe_training(training: Training) -> None:
    """Write what is known before the first step into the run directory."""
    from stkit.stacks.engine import engine_line
    from stkit.train.device import describe

    line = engine_line(training.engine)
    if line is not None:
        LOG.info(line)
    with told_when_full(training.run.pipeline):
        training.data.pipeline.save(training.run.pipeline)
    training.run.update_record(
        device=describe(training.accelerator),
        world_size=training.accelerator.num_processes,
        engine=training.engine,
        memory=training.memory,
        precision=training.recipe.train.precision,
        parameters=sum(parameter.numel() for parameter in training.objective.forecaster.parameters()),
        split=training.data.split_summary,
        windows_hash=training.data.windows_hash,
    )


@contextmanager
def callbacks_told(training: Training) -> Iterator[None]:
    """For steps that are taken to measure them: the callbacks are told of a start, in a folder that is thrown away."""
    from stkit.run.directory import RunDirectory

    with tempfile.TemporaryDirectory(prefix="stkit-") as folder, closing(training.batches):
        training.run = RunDirectory(Path(folder))
        for callback in training.callbacks:
            callback.on_start(callback_context(training))
        yield


def callback_context(training: Training) -> CallbackContext:
    """What the callbacks are shown."""
    return CallbackContext(
        recipe=training.recipe,
        run=training.run.path,
        objective=training.objective,
        is_main=training.accelerator.is_main_process,
        step=training.step,
    )
