"""``stkit compare``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.output import json_option, print_json
from stkit.errors import UsageError


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--score",
    default="mse",
    metavar="NAME",
    help="What is compared: mse, squared errors (default); mae, absolute ones; or a score of the runs, such as csi_1.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The report. Default: comparisons/<UTC time>.html.",
)
@click.option("--overwrite", is_flag=True, help="Write over the report if it is there.")
@json_option
def command(runs: tuple[Path, ...], score: str, out: Path | None, overwrite: bool, as_json: bool) -> None:
    """Compare finished runs: better, not distinguishable or worse, with intervals.

    Runs of one recipe with several seeds belong together. Each recipe is compared with that of the first RUN, and all
    with each baseline, by differences at the same start times. All must have been scored on the same test windows.

    \b
    Examples:
        stkit compare runs/predrnn-sst/* runs/convlstm-sst/*
        stkit compare runs/a runs/b --out a-b.html
        stkit compare runs/rain/* --score csi_1
        stkit compare runs/a runs/b --json
    """
    import tempfile

    from stkit.cli.comparison import print_study
    from stkit.evaluate.comparison.runs import metric_of, read_groups
    from stkit.evaluate.comparison.study import study
    from stkit.evaluate.comparison.write import write_page
    from stkit.run.directory import new_path
    from stkit.run.record import command as command_line

    path = out or new_path("comparisons", Path()).with_suffix(".html")
    if path.is_dir():
        raise UsageError(f"--out {path}: this is a folder; name a file, such as {path / 'comparison.html'}")
    if path.exists() and not overwrite:
        raise UsageError(f"--out {path}: the file exists; --overwrite writes over it")
    groups = read_groups(runs)
    metric = None if score in ("mse", "mae") else metric_of(runs[0], score)
    found = study(groups, score=score, metric=metric)
    with tempfile.TemporaryDirectory(prefix="stkit-compare-") as figures:
        write_page(
            found,
            path,
            Path(figures),
            title="Comparison of runs",
            summary=", ".join(member.name for member in found.trained),
            command=command_line(),
        )
    if as_json:
        print_json({"report": str(path), **found.as_dict()})
    else:
        print_study(found)
        click.echo(f"\nreport  {path}")
