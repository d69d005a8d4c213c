"""``stkit eval``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.output import json_option, print_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--all", "every", is_flag=True, help="Print every score, not just the error and the skill.")
@json_option
def command(run: Path, every: bool, as_json: bool) -> None:
    """Score a run on its test part, beside the baselines.

    Writes scores.json, forecast.nc, the figures and the report into the run directory. The test part is used for
    nothing else. In several processes: torchrun --nproc-per-node 2 -m stkit eval RUN.

    \b
    Examples:
        stkit eval runs/demo
        stkit eval runs/demo --json
    """
    from stkit.cli.scores import print_scores
    from stkit.evaluate.report import write_report
    from stkit.evaluate.run import evaluate_run
    from stkit.run.directory import RunDirectory
    from stkit.train.device import make_accelerator, on_main

    directory = RunDirectory.open(run)
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
