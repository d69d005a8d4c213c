"""A run from beginning to end: prepare the data, train, score on the test part, write the report."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.errors import CheckpointError, StkitError
from stkit.recipe import load
from stkit.run.directory import RunDirectory, refuse_occupied
from stkit.run.files import DiskFull
from stkit.run.logs import FILE_ONLY, logged_to
from stkit.run.record import command, new_record, now
from stkit.starting import starting
from stkit.train.launch import resume_line

if TYPE_CHECKING:
    from stkit.evaluate.scores import Scores
    from stkit.recipe import LoadedRecipe
    from stkit.train.setup import Training
    from stkit.train.trainer import TrainResult

LOG = logging.getLogger("stkit.run")


@dataclass(frozen=True)
class Executed:
    """How a run ended."""

    run: RunDirectory
    training: TrainResult
    scores: Scores | None
    """None where training was stopped or no evaluation was asked for."""
    is_main: bool
    """Whether this is the process that tells the user."""

    @property
    def stopped(self) -> bool:
        """Whether training was stopped by a signal; it can be resumed."""
        return self.training.outcome == "stopped"

    @property
    def resume_line(self) -> str:
        """The command that goes on with this run, started as it was."""
        return resume_line(str(self.run.path))

    @property
    def exit_code(self) -> int:
        """0; stopped by a signal: 128 and its number, as shells have it."""
        return 128 + (self.training.signal or signal.SIGINT) if self.stopped else 0


def execute(loaded: LoadedRecipe, *, out: str | Path | None = None, evaluate: bool = True) -> Executed:
    """Run a recipe in a new run directory. Every process of a launcher calls it; one of them writes.

    Args:
        loaded: the recipe.
        out: an empty or new directory; null: ``runs/<recipe name>/<UTC time>``.
        evaluate: whether to score on the test part and to write the report.

    Raises:
        UsageError: what was asked for does not fit; nothing has been written then.
        StkitError: see :func:`stkit.train.trainer.train`; the run directory stays, and says why.
    """
    if out is not None:
        refuse_occupied(Path(out))
    with starting():
        from stkit.train.device import make_accelerator, on_main
        from stkit.train.setup import assemble

        training = assemble(loaded, make_accelerator(loaded.recipe.train.precision))

    def create() -> str:
        run = RunDirectory.create(loaded, out)
        run.update_record(**new_record(loaded))
        return str(run.path)

    run = RunDirectory(Path(on_main(training.accelerator, create)))
    return _go(training, run, resume=False, evaluate=evaluate)


def resume(path: str | Path, *, evaluate: bool = True) -> Executed:
    """Go on with a run from its latest checkpoint; one whose training is complete is only evaluated.

    Raises:
        UsageError: it is no run directory.
        CheckpointError: there is no checkpoint, it is damaged, or it belongs to another recipe; or the weights were
            imported.
        StkitError: see :func:`execute`.
    """
    run = RunDirectory.open(path)
    record = run.read_record()
    if record.get("outcome") == "imported":
        raise CheckpointError(
            f"{run.path}: {record.get('reason')}: there is no training here to go on with. "
            f"`stkit predict {run.path}` forecasts with it"
        )
    loaded = load(str(run.path))
    expected = record.get("recipe_hash")
    if expected != loaded.hash:
        raise CheckpointError(
            f"{run.recipe}: changed since the run was started (recipe {loaded.hash[:12]}, run.json says "
            f"{str(expected)[:12]}); a changed recipe is a new run: `stkit recipe {run.recipe}`"
        )
    with starting():
        from stkit.run.origin import prepared
        from stkit.train.device import make_accelerator, on_main
        from stkit.train.setup import assemble

        accelerator = make_accelerator(loaded.recipe.train.precision)
        training = assemble(loaded, accelerator, prepared(run, loaded.recipe))

    def reopen() -> None:
        resumed = [*run.read_record().get("resumed", []), {"at": now(), "command": command()}]
        run.update_record(outcome="running", reason=None, finished=None, resumed=resumed)

    on_main(training.accelerator, reopen)
    return _go(training, run, resume=True, evaluate=evaluate)


def resume_on(
    path: str | Path,
    new: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    keep_optimiser: bool = False,
    evaluate: bool = True,
) -> Executed:
    """Go on from a run's weights on data that have come since, in a run directory of its own.

    Args:
        path: the run to go on from; it stays as it is.
        new: a file, or a pattern, of the kind that it was trained on.
        out: an empty or new directory; null: ``runs/<recipe name>/<UTC time>``.
        overrides: ``key.path=value`` of the new run's recipe.
        keep_optimiser: whether the optimiser goes on with the moments that it had.
        evaluate: whether to score on the new test part and to write the report, and the drift report.

    Raises:
        StkitError: see :func:`stkit.run.continuation.begin` and :func:`execute`.
    """
    from stkit.run.continuation import begin

    training, run = begin(path, new, out, overrides, keep_optimiser=keep_optimiser)
    return _go(training, run, resume=True, evaluate=evaluate)


def _go(training: Training, run: RunDirectory, *, resume: bool, evaluate: bool) -> Executed:
    from stkit.train.device import on_main
    from stkit.train.trainer import fit

    accelerator = training.accelerator
    main = bool(accelerator.is_main_process)
    scores = None
    with logged_to(run.log, is_main=main), _outcome_recorded(run, main):
        LOG.info("%s run %s", "resuming" if resume else "new", run.path)
        result = fit(training, run, resume=resume)
        if result.outcome == "stopped":
            if main:
                run.update_record(outcome="stopped", reason=result.reason, finished=now())
            LOG.info("stopped after step %d", result.step, extra={FILE_ONLY: True})
        else:
            LOG.info("training done at step %d%s", result.step, f": {result.reason}" if result.reason else "")
            if evaluate:
                from stkit.evaluate.run import evaluate_run

                scores = evaluate_run(run, accelerator)
            if main:
                run.update_record(outcome="finished", reason=result.reason, finished=now())
            if evaluate:
                from stkit.evaluate.report import write_report

                on_main(accelerator, lambda: write_report(run))
                if training.data.continued:
                    from stkit.evaluate.report.drift import write_drift

                    on_main(accelerator, lambda: write_drift(run))
    accelerator.end_training()
    return Executed(run, result, scores, main)


@contextmanager
def _outcome_recorded(run: RunDirectory, main: bool) -> Iterator[None]:
    """Put a failure into ``run.json``; on a full disk even that may fail, and the first error is the one to tell."""
    try:
        yield
    except DiskFull as error:
        _record_failure(run, main, error)
        if (run.checkpoints / "latest.json").exists():
            raise DiskFull(f"{error}\nMake room, then: {resume_line(str(run.path))}") from error
        raise
    except BaseException as error:
        _record_failure(run, main, error)
        raise


def _record_failure(run: RunDirectory, main: bool, error: BaseException) -> None:
    if main:
        stopped = isinstance(error, KeyboardInterrupt)
        told = str(error) if isinstance(error, StkitError) else f"{type(error).__name__}: {error}"
        with suppress(OSError, StkitError):
            run.update_record(
                outcome="stopped" if stopped else "failed", reason="interrupted" if stopped else told, finished=now()
            )
        with suppress(OSError, StkitError):
            LOG.info("%s: %s", "stopped" if stopped else "failed", told, extra={FILE_ONLY: True})
