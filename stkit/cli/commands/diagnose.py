"""``stkit diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import rich_click as click

from stkit.cli.output import json_option, print_json, print_table


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN [RUN]...")
@click.option(
    "--data",
    "part",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="The part that windows are taken from.",
)
@click.option("--windows", type=int, default=8, show_default=True, metavar="N", help="Windows to look at.")
@click.option(
    "--saturated",
    type=(float, float),
    default=(0.1, 0.9),
    show_default=True,
    metavar="LOW HIGH",
    help="A gate below LOW or above HIGH is saturated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write diagnosis.json and the figures there. Default: into the run and its report.",
)
@json_option
def command(
    runs: tuple[Path, ...],
    part: Literal["validation", "test"],
    windows: int,
    saturated: tuple[float, float],
    out: Path | None,
    as_json: bool,
) -> None:
    """See inside a trained run: gates, gradients, attention, stationarity.

    Forecasts some windows under observation and writes diagnosis.json, figures, and the part "Seeing inside" of the
    report into the first run. Of further runs on the same windows the gradients are shown beside it.

    \b
    Examples:
        stkit diagnose runs/demo
        stkit diagnose runs/with-highway runs/without --windows 16
        stkit diagnose runs/demo --data test --out seen
    """
    from stkit.diagnose.gates import Bounds
    from stkit.diagnose.run import diagnose
    from stkit.diagnose.write import write_diagnosis
    from stkit.errors import UsageError
    from stkit.evaluate.report import write_report
    from stkit.run.directory import RunDirectory
    from stkit.train.device import make_accelerator

    directory, *beside = (RunDirectory.open(run) for run in runs)
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: this is a file; name a directory")
    found, field = diagnose(
        directory,
        beside,
        part=part,
        windows=windows,
        bounds=Bounds(*saturated),
        device=make_accelerator().device,
    )
    path = directory.diagnosis if out is None else out / directory.diagnosis.name
    written = write_diagnosis(found, field, path, directory.figures if out is None else out)
    report = write_report(directory) if out is None else None
    if as_json:
        print_json(written)
        return
    click.echo(f"{written['looked_at']}\n")
    print_table(["about", "what was seen"], [[finding["about"], finding["text"]] for finding in written["findings"]])
    click.echo(f"\ndiagnosis  {path}" + ("" if report is None else f"\nreport     {report}"))
