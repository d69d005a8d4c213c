"""The report of an ablation: the comparison of its runs, and what was varied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stkit.ablate.directory import AblationDirectory
from stkit.ablate.plan import Plan
from stkit.evaluate.comparison.group import Cost, Group
from stkit.evaluate.comparison.runs import training_seconds
from stkit.evaluate.comparison.study import Study, study
from stkit.evaluate.comparison.write import write_page
from stkit.evaluate.report.html import plain_table, section
from stkit.evaluate.window_errors import read_errors
from stkit.run.directory import RunDirectory
from stkit.run.files import write_json

if TYPE_CHECKING:
    from stkit.ablate.run import Trained


def groups_of(plan: Plan, runs: Sequence[Trained]) -> list[Group]:
    """The cells with the runs that were trained to the end, in the order of the grid."""
    groups = []
    for cell in plan.cells:
        done = [run for run in runs if run.cell == cell.name and run.failed is None]
        if not done:
            continue
        directories = [RunDirectory(run.path) for run in done]
        groups.append(
            Group(
                name=cell.name,
                seeds=tuple(run.seed for run in done),
                runs=tuple(str(run.path) for run in done),
                errors=tuple(read_errors(directory.errors) for directory in directories),
                cost=Cost(
                    parameters=cell.parameters,
                    flops=cell.flops,
                    steps=tuple(directory.read_record().get("step") for directory in directories),
                    seconds=tuple(training_seconds(directory) for directory in directories),
                ),
            )
        )
    return groups


def write(plan: Plan, directory: AblationDirectory, runs: Sequence[Trained], command: str) -> Study:
    """Compare the runs; write ``comparison.json``, the figures and ``report.html``.

    Raises:
        DataError: runs that were not scored on the same windows and cells.
        DiskFull: so is the disk.
    """
    found = study(groups_of(plan, runs))
    failed = [f"{run.cell}, seed {run.seed}, failed: {run.failed}" for run in runs if run.failed]
    content = {"name": plan.base.name, "budget": str(plan.budget), "failed": failed, **found.as_dict()}
    write_json(directory.comparison, content)
    seeds = f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    rows = {
        "recipe": plan.ref,
        "changed in all cells": ", ".join(plan.overrides) or "nothing",
        **{f"axis {axis.name}": ", ".join(axis.values) for axis in plan.axes},
        "seeds": ", ".join(map(str, plan.seeds)),
        "budget": f"{plan.budget} of training for each run, validation included",
        "lengths": "sampling and learning-rate schedules are scaled with the steps; no early stopping, and the weights "
        "of the best validation are scored",
    }
    write_page(
        found,
        directory.report,
        directory.figures,
        title=f"Ablation of {plan.base.name}",
        summary=f"{len(plan.cells)} cells, {seeds} each, {plan.budget} a run",
        command=command,
        notes=failed,
        sections=[section("What was varied", plain_table(rows, "The grid"))],
    )
    return found
