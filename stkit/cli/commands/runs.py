"""``stkit runs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from stkit.cli.output import json_option, print_json, print_table
from stkit.errors import UsageError

if TYPE_CHECKING:
    from stkit.run.directory import RunSummary


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"), metavar="[FOLDER]")
@json_option
def command(folder: Path, as_json: bool) -> None:
    """List the runs of a folder (by default `runs`), oldest first, with how they ended.

    \b
    Examples:
        stkit runs
        stkit runs /data/experiments --json
    """
    from stkit.run.directory import list_runs

    if not folder.is_dir():
        if folder != Path("runs"):
            raise UsageError(f"there is no folder {str(folder)!r}")
        found: list[RunSummary] = []
    else:
        found = list_runs(folder)
    if as_json:
        print_json([run.as_dict() for run in found])
        return
    if not found:
        click.echo(f"no runs in {folder}; `stkit recipe predrnn-sst` makes one", err=True)
        return
    rows = [[run.name, _outcome(run), _steps(run), _best(run), run.started or "", run.path] for run in found]
    print_table(["recipe", "outcome", "steps", "best loss", "started", "directory"], rows)


def _outcome(run: RunSummary) -> str:
    return f"{run.outcome}: {run.reason}" if run.reason else run.outcome


def _steps(run: RunSummary) -> str:
    return f"{'?' if run.step is None else run.step}/{'?' if run.steps is None else run.steps}"


def _best(run: RunSummary) -> str:
    return "" if run.best_loss is None else f"{run.best_loss:.4g} at {run.best_step}"
