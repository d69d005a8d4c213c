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
    "--forecasts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Score this file of forecasts, as stkit predict writes it, on the test part of RUN; members are an ensemble.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="With --ensemble or --forecasts: where scores and report go. A name that ends in .json: the scores alone.",
)
@json_option
def command(
    runs: tuple[Path, ...], every: bool, ensemble: bool, forecasts: Path | None, out: Path | None, as_json: bool
) -> None:
    """Score a run on its test part, beside the baselines.

    Writes scores.json, forecast.nc, the figures and the report into the run directory. The test part is used for
    nothing else. In several processes: torchrun --nproc-per-node 2 -m stkit eval RUN.

    With --ensemble the runs, such as one recipe with several seeds, are the members of one forecast: its mean is scored
    beside the baselines, and CRPS, spread and ranks are added. Nothing is written into the runs; --out makes a report.

    \b
    Examples:
        stkit eval runs/demo
        stkit eval runs/demo --json
        stkit eval runs/predrnn-sst/* --ensemble --all
        stkit eval runs/predrnn-sst/* --ensemble --out runs/together
        stkit eval runs/demo --forecasts ensemble.nc --out runs/from-file
    """
    from stkit.run.directory import RunDirectory

    directories = [RunDirectory.open(run) for run in runs]
    if forecasts is not None and (ensemble or len(directories) > 1):
        raise UsageError("--forecasts: name one run, whose test part they are scored on, and no --ensemble")
    if ensemble or forecasts is not None:
        _together(directories, forecasts, every, out, as_json)
        return
    if out is not None:
        raise UsageError("--out is for --ensemble and --forecasts: the scores of a run go into its own folder")
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


def _together(
    directories: list[RunDirectory], forecasts: Path | None, every: bool, out: Path | None, as_json: bool
) -> None:
    from tempfile import TemporaryDirectory

    from stkit.cli.scores import print_scores
    from stkit.evaluate.ensemble_run import evaluate_ensemble, evaluate_forecasts
    from stkit.evaluate.report import write_report
    from stkit.run.files import write_json
    from stkit.train.device import make_accelerator, on_main

    alone = out is None or out.suffix == ".json"
    if out is not None and alone and out.exists():
        raise UsageError(f"--out {out}: it exists; name another file")
    accelerator = make_accelerator()
    told = ""
    with TemporaryDirectory(prefix="stkit-eval-") as scratch:
        place = on_main(accelerator, lambda: str(Path(scratch) / "run") if alone or out is None else str(out))
        if forecasts is None:
            scores, folder = evaluate_ensemble(directories, place, accelerator)
        else:
            scores, folder = evaluate_forecasts(directories[0], forecasts, place, accelerator)
        if not alone:
            told = on_main(accelerator, lambda: f"\nreport  {write_report(folder)}")
    if accelerator.is_main_process:
        if out is not None and alone:
            write_json(out, scores.as_dict())
        if as_json:
            print_json(scores.as_dict())
        else:
            print_scores(scores, every=every)
            click.echo(told, nl=bool(told))
    accelerator.end_training()
