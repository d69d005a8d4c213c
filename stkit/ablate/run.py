"""Run an ablation: time the cells, train what is not trained yet, and compare."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.ablate import budget as budgets
from stkit.ablate.budget import Length, Pace
from stkit.ablate.directory import AblationDirectory, length_key
from stkit.ablate.plan import Cell, Plan
from stkit.ablate.pool import Ended, Pool, Task, told
from stkit.errors import RunFailed, UsageError
from stkit.evaluate.report.record import duration_text
from stkit.recipe.loaded import LoadedRecipe, load
from stkit.run.directory import RunDirectory, RunSummary
from stkit.run.files import write_text

if TYPE_CHECKING:
    from stkit.evaluate.comparison.study import Study

LOG = logging.getLogger("stkit.ablate")
_TIMED_SHARE, _TIMED_LEAST_SECONDS, _TIMED_MOST_SECONDS = 0.03, 1.0, 30.0


@dataclass(frozen=True)
class Trained:
    """One run of the grid."""

    cell: str
    seed: int
    path: Path
    reused: bool
    """It was finished before."""
    failed: str | None = None
    """Why it failed; None where it did not."""


@dataclass(frozen=True)
class Ablated:
    """How an ablation ended."""

    directory: AblationDirectory
    runs: tuple[Trained, ...]
    study: Study | None
    """None where it was stopped, or nothing was trained to the end."""
    stopped_by: int | None = None
    """The signal that stopped it; the same command goes on."""

    @property
    def failed(self) -> tuple[Trained, ...]:
        """The runs that failed."""
        return tuple(run for run in self.runs if run.failed)

    @property
    def exit_code(self) -> int:
        """0; 1 where a run failed; stopped by a signal: 128 and its number."""
        return 128 + self.stopped_by if self.stopped_by else 1 if self.failed else 0


@dataclass(frozen=True)
class _Wanted:
    """One run that is to be there in the end."""

    cell: Cell
    seed: int
    loaded: LoadedRecipe
    file: Path


class _Stopped(Exception):
    """A signal came while the cells were timed."""


def ablate(plan: Plan, out: Path, *, jobs: int | None = None, command: str = "") -> Ablated:
    """Train every cell with every seed at the plan's budget, and write the report.

    Finished runs of the folder are used again, unfinished ones go on where they stopped. Each run is a process.

    Args:
        plan: what is to be run; see :func:`stkit.ablate.plan.make_plan`.
        out: the folder; new, empty, or of the same ablation.
        jobs: runs at a time; null: one on each GPU, or one.
        command: the command line, for the report.

    Raises:
        UsageError: the folder holds something else, another process is at it, or the budget is too small for one
            evaluation of a cell; nothing has been trained then.
        RunFailed: a cell could not be timed, or the disk is full.
    """
    from stkit.ablate.report import write

    directory = AblationDirectory(out)
    directory.check(plan)
    with directory.locked() as lock:
        pool = _pool(jobs, lock)
        try:
            lengths = _lengths(plan, directory, pool)
        except _Stopped:
            return Ablated(directory, (), None, pool.stopped_by)
        wanted = _wanted(plan, directory, lengths)
        runs = _train(directory, wanted, pool)
        if pool.stopped_by is not None:
            return Ablated(directory, tuple(runs), None, pool.stopped_by)
        done = [run for run in runs if run.failed is None]
        study = write(plan, directory, runs, command) if done else None
        return Ablated(directory, tuple(runs), study)


def default_out(plan: Plan) -> Path:
    """``ablations/<recipe>-<identity>``: the same command finds its own runs again."""
    return Path("ablations") / f"{plan.base.name}-{plan.identity}"


def _pool(jobs: int | None, lock: int) -> Pool:
    gpus = _gpus()
    count = jobs or max(1, len(gpus))
    threads = max(1, (os.cpu_count() or 1) // count) if count > 1 and not gpus else None
    shows = count == 1 and sys.stderr.isatty()
    return Pool(count, devices=gpus if count > 1 else (), threads=threads, kept_open=(lock,), shows=shows)


def _gpus() -> tuple[str, ...]:
    import torch

    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on"):
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return tuple(visible.split(",")[:count]) if visible else tuple(map(str, range(count)))


def _lengths(plan: Plan, directory: AblationDirectory, pool: Pool) -> dict[str, Length]:
    """How long each cell is trained, by its key. What was found once is kept, so that all seeds have the same."""
    known = {key: Length(**value) for key, value in directory.lengths().items()}
    missing = [cell for cell in plan.cells if length_key(cell.key) not in known]
    paces: dict[str, Pace | None] = dict.fromkeys([cell.name for cell in missing])
    if plan.budget.kind == "seconds" and missing:
        paces = dict(_time(plan, directory, missing, pool))
    for cell in missing:
        length = budgets.length_of(cell.loaded.recipe, plan.budget, paces[cell.name], repr(cell.name))
        known[length_key(cell.key)] = length
    directory.write(plan, {key: asdict(length) for key, length in known.items()})
    return known


def _time(plan: Plan, directory: AblationDirectory, cells: Sequence[Cell], pool: Pool) -> dict[str, Pace]:
    """Time cells one after the other, so that they do not slow each other down."""
    seconds = min(max(_TIMED_SHARE * plan.budget.amount, _TIMED_LEAST_SECONDS), _TIMED_MOST_SECONDS)
    tasks = []
    for cell in cells:
        file = directory.cells / f"{cell.slug}.yaml"
        write_text(file, cell.loaded.resolved_yaml())
        tasks.append(Task(cell.name, ("-m", "stkit.ablate.timing", str(file), str(seconds))))
    LOG.info("timing %d cell%s, to find how many steps make %s", len(cells), "s" if len(cells) > 1 else "", plan.budget)
    alone = replace(pool, jobs=1, shows=False)
    found: dict[str, Pace] = {}
    for ended in alone.run(tasks):
        if alone.stopped_by is not None:
            break
        if ended.code:
            kind = UsageError if ended.code == UsageError.exit_code else RunFailed
            raise kind(f"{ended.task.name}: {ended.stderr.strip() or told(ended)}")
        found[ended.task.name] = Pace(**json.loads(ended.stdout))
    if alone.stopped_by is not None:
        pool.stopped_by = alone.stopped_by
        raise _Stopped
    return found


def _wanted(plan: Plan, directory: AblationDirectory, lengths: dict[str, Length]) -> list[_Wanted]:
    """Every run of the grid, all cells with one seed before the next seed, so that a part is comparable early."""
    wanted = []
    for seed in plan.seeds:
        for cell in plan.cells:
            file = directory.cells / f"{cell.slug}.yaml"
            scaled = budgets.overrides(cell.loaded.recipe, lengths[length_key(cell.key)])
            if seed == plan.seeds[0]:
                write_text(file, _with(cell.loaded, scaled, directory).resolved_yaml())
            wanted.append(_Wanted(cell, seed, load(str(file), [f"seed={seed}"]), file))
    return wanted


def _with(loaded: LoadedRecipe, overrides: Sequence[str], directory: AblationDirectory) -> LoadedRecipe:
    """The recipe with overrides on top."""
    file = directory.cells / ".whole.yaml"
    write_text(file, loaded.resolved_yaml())
    try:
        return load(str(file), overrides)
    finally:
        file.unlink()


def _train(directory: AblationDirectory, wanted: Sequence[_Wanted], pool: Pool) -> list[Trained]:
    """Use again what is finished, and run the rest."""
    known = directory.known_runs()
    found: dict[str, Trained] = {}
    tasks: list[Task] = []
    places: dict[str, tuple[_Wanted, Path]] = {}
    for one in wanted:
        name = f"{one.cell.name}, seed {one.seed}"
        run = known.get(one.loaded.hash)
        if run is not None and run.outcome == "finished" and RunDirectory(Path(run.path)).errors.exists():
            found[name] = Trained(one.cell.name, one.seed, Path(run.path), reused=True)
            continue
        path, command = _command(directory, one, run)
        places[name] = one, path
        tasks.append(Task(name, command))
    if found:
        LOG.info("%d of %d runs are there already", len(found), len(wanted))
    for number, ended in enumerate(pool.run(tasks), start=len(found) + 1):
        one, path = places[ended.task.name]
        failed = None if ended.code == 0 else _reason(path, ended)
        if pool.stopped_by is None or ended.code == 0:
            found[ended.task.name] = Trained(one.cell.name, one.seed, path, reused=False, failed=failed)
            took = duration_text(ended.seconds)
            how = f"failed after {took}: {failed}" if failed else f"done in {took}"
            LOG.log(
                logging.WARNING if failed else logging.INFO, "%d/%d  %s: %s", number, len(wanted), ended.task.name, how
            )
    return [found[name] for name in (f"{one.cell.name}, seed {one.seed}" for one in wanted) if name in found]


def _command(directory: AblationDirectory, one: _Wanted, run: RunSummary | None) -> tuple[Path, tuple[str, ...]]:
    """Where a run is, and what makes it: go on with one that has a checkpoint, or begin."""
    quiet = ("-m", "stkit", "--quiet")
    if run is not None and (RunDirectory(Path(run.path)).checkpoints / "latest.json").exists():
        return Path(run.path), (*quiet, "resume", run.path, "--json")
    path = directory.free_place(one.cell.slug, one.seed)
    return path, (*quiet, "recipe", str(one.file), f"seed={one.seed}", "--out", str(path), "--json")


def _reason(path: Path, ended: Ended) -> str:
    """Why a run failed."""
    if (path / "run.json").exists():
        reason = RunDirectory(path).read_record().get("reason")
        if reason:
            return str(reason)
    return told(ended)
