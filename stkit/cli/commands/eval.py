"""``stkit eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from stkit.cli.output import json_option, print_json
from stkit.errors import UsageError

if TYPE_CHECKING:
    from stkit.run.directory import RunDirectory


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--all", "every", is_flag=True, help="Print every score, not just the error and the skill.")
@click.option("--ensemble", is_flag=True, help="Score the runs together, as members of one ensemble.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="With --ensemble: write the scores there, as JSON."
)
@json_option
def command(runs: tuple[Path, ...], every: bool, ensemble: bool, out: Path | None, as_json: bool) -> None:
    """Score a run on its test part, beside the baselines.

    Writes scores.json, forecast.nc, the figures and the report into the run directory. The test part is used for
    nothing else. In several processes: torchrun --nproc-per-node 2 -m stkit eval RUN.

    With --ensemble the runs, such as one recipe with several seeds, are the members of one forecast: its mean is scored
    beside the baselines, and CRPS, spread and ranks are added. Nothing is written into the runs.

    \b
    Examples:
        stkit eval runs/demo
        stkit eval runs/demo --json
        stkit eval runs/predrnn-sst/* --ensemble --all
    """
    from stkit.run.directory import RunDirectory

    directories = [RunDirectory.open(run) for run in runs]
    if ensemble:
        _together(directories, every, out, as_json)
        return
    if out is not None:
        raise UsageError("--out is for --ensemble: the scores of a run go into its own folder")
    if len(directories) > 1:
        raise UsageError(f"{len(directories)} runs: score each by itself, or all as one forecast with --ensemble")
    _alone(directories[0], every, as_json)


def _alone(directory: RunDirectory, every: bool, as_json: bool) -> None:
    from stkit.cli.scores import print_scores
    from stkit.evaluate.report import write_report
    from stkit.evaluate.run import evaluate_run
    from stkit.train.device import make_accelerator, on_main

    accelerator = make_accelerator()
    scores = evaluate_run(directory, accelerator)
    report = on_main(accelerator, lambda: str(write_report(directory)))
    if accelerator.is_main_process:
        if as_json:
            print_json(scores.as_dict())
        else:
            print_scores(scores, every=every)
            click.echo(f"\nreport  {report}")
    accelerator.end_training()


def _together(directories: list[RunDirectory], every: bool, out: Path | None, as_json: bool) -> None:
    from stkit.cli.scores import print_scores
    from stkit.evaluate.ensemble_run import evaluate_ensemble
    from stkit.run.files import write_json

    if out is not None and out.exists():
        raise UsageError(f"--out {out}: it exists; name another file")
    scores = evaluate_ensemble(directories)
    if out is not None:
        write_json(out, scores.as_dict())
    if as_json:
        print_json(scores.as_dict())
    else:
        print_scores(scores, every=every)
