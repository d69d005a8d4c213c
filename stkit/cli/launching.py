"""What ``recipe`` and ``resume`` have in common: their options, and what they tell at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from stkit.cli.output import json_option, print_json
from stkit.errors import StkitError

if TYPE_CHECKING:
    from stkit.run.execute import Executed


def launch_options(function: Any) -> Any:
    """``--gpus``, ``--processes``, ``--no-eval`` and ``--json``."""
    function = json_option(function)
    function = click.option("--no-eval", is_flag=True, help="Train only; `stkit eval` scores later.")(function)
    function = click.option(
        "--processes", type=click.IntRange(min=1), metavar="N", help="Run in N processes on the CPU."
    )(function)
    return click.option("--gpus", type=click.IntRange(min=1), metavar="N", help="Run on N GPUs of this machine.")(
        function
    )


def start(
    ctx: click.Context,
    arguments: Sequence[str],
    run: Callable[[], Executed],
    check: Callable[[], object],
    *,
    gpus: int | None,
    processes: int | None,
    no_eval: bool,
    as_json: bool,
) -> int:
    """Do the run here, or start the processes that do; returns the exit code.

    Args:
        ctx: of the command.
        arguments: the command with its own arguments, for the processes.
        run: does the run in this process.
        check: raises what can be told before any process is started.
        gpus: as the option.
        processes: as the option.
        no_eval: as the option.
        as_json: as the option.

    Raises:
        StkitError: something in the request is wrong, or the run failed.
    """
    from stkit.train.launch import processes_wanted, relaunch

    count = processes_wanted(gpus, processes)
    if processes == 1:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    if count > 1:
        check()
        flags = [flag for flag, given in (("--no-eval", no_eval), ("--json", as_json)) if given]
        loudness = [f"--{name}" for name in ("verbose", "quiet") if ctx.parent and ctx.parent.params.get(name)]
        option = "--gpus" if gpus is not None else "--processes"
        return relaunch([*loudness, *arguments, *flags], count=count, option=option)
    try:
        done = run()
    except StkitError as error:
        if os.environ.get("RANK", "0") != "0":  # the first process of several tells it
            return error.exit_code
        raise
    if done.is_main:
        tell(done, as_json=as_json)
    return done.exit_code


def tell(done: Executed, *, as_json: bool) -> None:
    """Print how a run ended: on stdout the scores and where the report is, on stderr what else there is to say."""
    if done.stopped:
        click.echo(f"stopped after step {done.training.step}; the checkpoint is saved. To go on:", err=True)
        click.echo(f"  {done.resume_line}", err=True)
    if as_json:
        print_json(
            {
                "run": str(done.run.path),
                "outcome": done.training.outcome,
                "reason": done.training.reason,
                "step": done.training.step,
                "best_step": done.training.best_step,
                "report": str(done.run.report) if done.scores is not None else None,
                "scores": None if done.scores is None else done.scores.as_dict(),
            }
        )
    elif done.scores is not None:
        from stkit.cli.scores import print_scores

        print_scores(done.scores)
        click.echo(f"\nreport  {done.run.report}")
    elif not done.stopped:
        click.echo(str(done.run.path))
    sys.stdout.flush()
