"""``stkit report``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.output import json_option, print_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@json_option
def command(run: Path, as_json: bool) -> None:
    """Write a run's report and model card again, from what is in the run directory.

    The data are not needed. report.html is one file that opens without a network.

    \b
    Examples:
        stkit report runs/demo
        stkit report runs/predrnn-sst/20250101-120000 --json
    """
    from stkit.evaluate.report import write_report
    from stkit.run.directory import RunDirectory

    directory = RunDirectory.open(run)
    report = write_report(directory)
    if as_json:
        print_json({"report": str(report), "card": str(directory.card)})
    else:
        click.echo(str(report))
