"""``stkit predict``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.output import json_option, print_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("source", type=click.Path(path_type=Path), metavar="[INPUT]", required=False)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="NetCDF file to write; a name that ends in .zarr makes a Zarr store.",
)
@click.option("--horizon", type=click.IntRange(min=1), metavar="N", help="Time steps to forecast. Default: as trained.")
@click.option(
    "--start",
    "starts",
    multiple=True,
    metavar="TIME",
    help="The last known frame, such as 2010-06 or 2010-06-16T12:00; every frame of a span, such as 2010-01..2010-12. "
    "May be given several times. Default: INPUT's last frame.",
)
@click.option("--every", type=click.IntRange(min=1), default=1, metavar="N", help="Steps between starts of a span.")
@click.option(
    "--member",
    "members",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="RUN",
    help="A further run (another seed, another recipe) as a further member of an ensemble.",
)
@click.option(
    "--lags",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Members from N starts of each run: the start itself and those before it.",
)
@click.option("--statistics", is_flag=True, help="Write the ensemble's mean and spread, too.")
@click.option(
    "--by-valid-time",
    is_flag=True,
    help="Make the time for which a field is the time axis, as QGIS, GDAL and CDO expect it. For one start.",
)
@click.option(
    "--refit",
    is_flag=True,
    help="Where INPUT is of another region than the training: take climatology and statistics of its cells from its "
    "frames up to the first start.",
)
@click.option("--overwrite", is_flag=True, help="Write over FILE.")
@click.option("--device", metavar="DEVICE", help="Where to compute, such as cuda. Default: cpu.")
@json_option
def command(
    run: Path,
    source: Path | None,
    out: Path,
    horizon: int | None,
    starts: tuple[str, ...],
    every: int,
    members: tuple[Path, ...],
    lags: int,
    statistics: bool,
    by_valid_time: bool,
    refit: bool,
    overwrite: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Forecast from the last frames of a file with a trained run.

    INPUT holds the variables the run was trained on, in their units, at the same time step; without it the run's own
    data are read. No frame after a start is read. The horizon may be longer than the trained one, and the region
    another or a larger one where the run keeps nothing that belongs to cells.

    \b
    Examples:
        stkit predict runs/demo sst.nc -o forecast.nc
        stkit predict runs/demo sst.nc -o forecast.nc --start 2010-06 --horizon 12
        stkit predict runs/demo sst.nc -o year.zarr --start 2009-01..2009-12
        stkit predict runs/seed-0 sst.nc -o ensemble.nc --member runs/seed-1 --member runs/seed-2 --lags 3 --statistics
    """
    from stkit.evaluate.words import steps_text
    from stkit.predict.forecast import predict

    done = predict(
        [run, *members],
        source,
        out,
        horizon=horizon,
        starts=starts,
        every=every,
        lags=lags,
        statistics=statistics,
        by_valid_time=by_valid_time,
        refit=refit,
        overwrite=overwrite,
        device=device,
    )
    if as_json:
        print_json(done.as_dict())
        return
    several = f"{len(done.starts)} starts, {done.starts[0]} to " if len(done.starts) > 1 else ""
    ensemble = f", {done.members} members" if done.members > 1 else ""
    until = f" to {done.last}" if done.last is not None else ""
    click.echo(
        f"{done.out}: {', '.join(done.variables)}, {steps_text(done.horizon, done.step)} from "
        f"{several}{done.starts[-1]}{until}{ensemble}"
    )
