"""``stkit ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from stkit.cli.output import json_option, print_json, print_table
from stkit.cli.parameters import recipe_arguments

if TYPE_CHECKING:
    from stkit.ablate.plan import Plan
    from stkit.ablate.run import Ablated

_GRID = "--grid"


class _GridCommand(click.RichCommand):
    """Takes several axes after one ``--grid``: what follows it, up to the next option, belongs to it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, with ``--grid A B`` read as ``--grid A --grid B``."""
        return super().parse_args(ctx, spread(args))


def spread(arguments: list[str]) -> list[str]:
    """Put ``--grid`` before each axis that follows one."""
    found: list[str] = []
    inside = False
    for place, argument in enumerate(arguments):
        if argument == "--":
            return [*found, *arguments[place:]]
        if argument.startswith("-"):
            inside = argument == _GRID or argument.startswith(f"{_GRID}=")
            found += [] if argument == _GRID and _follows(arguments, place) else [argument]
        elif inside:
            found += [_GRID, argument]
        else:
            found.append(argument)
    return found


def _follows(arguments: list[str], place: int) -> bool:
    """Whether an axis comes after the option at this place."""
    return place + 1 < len(arguments) and not arguments[place + 1].startswith("-")


@click.command(cls=_GridCommand)
@recipe_arguments
@click.option(
    _GRID,
    "grid",
    multiple=True,
    required=True,
    metavar="AXIS=V1,V2 ...",
    help="What is varied: attention, nonstationary, cell, model, overlay, or any recipe key.",
)
@click.option("--seeds", type=int, default=3, metavar="N", help="Training runs of each cell (default 3).")
@click.option(
    "--budget", default="300s", metavar="TIME", help="Training of each run: 300s, 5min, 1h or 400steps (default 300s)."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the runs and the report go. Default: ablations/<recipe>-<hash>, the same for the same command.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Runs at a time. Default: one on each GPU, or one."
)
@click.option("--dry-run", is_flag=True, help="Check every cell and count parameters and FLOPs; run nothing.")
@json_option
def command(
    ref: str,
    overrides: tuple[str, ...],
    grid: tuple[str, ...],
    seeds: int,
    budget: str,
    out: Path | None,
    jobs: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run a grid of recipes at equal budget with several seeds, and tell what makes a difference.

    Every cell is checked before anything is trained. Each is compared with the first cell and with the baselines. After
    Ctrl-C the same command goes on; finished runs are used again when the grid or the seeds grow. Overrides stand
    before --grid.

    \b
    Axes:
        attention=none,sam,x:self_attention    a module at h, or at another place
        nonstationary=none,mim,differencing    a transition or a module
        cell=…  model=…  overlay=none,…        registered names, overlays
        train.optimiser.lr=1e-3,3e-4           any recipe key

    \b
    Examples:
        stkit ablate predrnn-sst --grid attention=none,sam nonstationary=none,mim --seeds 3 --budget 300s
        stkit ablate predrnn-sst data.departure_from=none --grid nonstationary=none,differencing --budget 400steps
        stkit ablate my.yaml --grid model.layers=[16,16],[32,32] --dry-run
    """
    from stkit.ablate.budget import parse_budget
    from stkit.ablate.directory import AblationDirectory
    from stkit.ablate.grid import parse_grid
    from stkit.ablate.plan import make_plan
    from stkit.ablate.run import ablate, default_out
    from stkit.run.record import command as command_line

    axes, allowed = parse_grid(grid), parse_budget(budget)
    plan = make_plan(ref, overrides, axes, seeds=seeds, budget=allowed)
    place = out or default_out(plan)
    AblationDirectory(place).check(plan)
    if dry_run:
        _tell_plan(plan, place, as_json=as_json)
        return 0
    runs = len(plan.cells) * len(plan.seeds)
    click.echo(f"{len(plan.cells)} cells, {runs} runs of {plan.budget}, in {place}", err=True)
    done = ablate(plan, place, jobs=jobs, command=command_line())
    _tell(done, as_json=as_json)
    return done.exit_code


def _tell_plan(plan: Plan, place: Path, *, as_json: bool) -> None:
    if as_json:
        cells = [
            {
                "name": cell.name,
                "values": dict(cell.values),
                "hash": cell.loaded.hash,
                "parameters": cell.parameters,
                "flops": cell.flops,
            }
            for cell in plan.cells
        ]
        print_json({"out": str(place), "budget": str(plan.budget), "seeds": list(plan.seeds), "cells": cells})
        return
    rows = [[cell.name, f"{cell.parameters:,}", f"{cell.flops:.3g}"] for cell in plan.cells]
    print_table(["cell", "parameters", "FLOPs of a forward pass"], rows)
    runs = len(plan.cells) * len(plan.seeds)
    click.echo(f"\n{len(plan.cells)} cells with {len(plan.seeds)} seeds: {runs} runs of {plan.budget}, in {place}")


def _tell(done: Ablated, *, as_json: bool) -> None:
    from stkit.cli.comparison import print_study

    if as_json:
        print_json(_as_json(done))
    elif done.study is not None:
        print_study(done.study)
        click.echo(f"\nreport  {done.directory.report}")
    for run in done.failed:
        click.echo(f"failed: {run.cell}, seed {run.seed}: {run.failed}", err=True)
    if done.stopped_by is not None:
        click.echo("stopped; what was trained is saved, and the same command goes on", err=True)


def _as_json(done: Ablated) -> dict[str, Any]:
    outcome = "stopped" if done.stopped_by is not None else "failed" if done.failed else "finished"
    return {
        "out": str(done.directory.path),
        "outcome": outcome,
        "report": None if done.study is None else str(done.directory.report),
        "runs": [
            {
                "cell": run.cell,
                "seed": run.seed,
                "path": str(run.path),
                "reused": run.reused,
                "failed": run.failed,
            }
            for run in done.runs
        ],
        "study": None if done.study is None else done.study.as_dict(),
    }
