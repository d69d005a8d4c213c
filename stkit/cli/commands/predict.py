"""``stkit predict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    help="NetCDF file to write; a name that ends in .zarr makes a Zarr store. With --stream: a folder.",
)
@click.option(
    "--horizon", type=click.IntRange(1, 100_000), metavar="N", help="Time steps to forecast. Default: as trained."
)
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
@click.option(
    "--forcing",
    type=click.Path(path_type=Path),
    metavar="FORCING",
    help="File with the forcing of the known frames and of those to forecast. Default: INPUT has it.",
)
@click.option("--overwrite", is_flag=True, help="Write over FILE.")
@click.option(
    "--stream",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Follow frames that arrive as files in DIR, and forecast after each, until Ctrl-C.",
)
@click.option("--once", is_flag=True, help="With --stream: stop when what is there has been taken in.")
@click.option(
    "--poll", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Between two looks at DIR. Default: 10."
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long a file in DIR that cannot be read is waited for. Default: 60.",
)
@click.option(
    "--max-gap",
    type=click.IntRange(min=0),
    metavar="N",
    help="Missing frames in a row that forecasts stand in for; after more the stream begins anew. Default: 1.",
)
@click.option("--fresh", is_flag=True, help="With --stream: forget what lies further back than the frames of training.")
@click.option("--pattern", metavar="GLOB", help="Of the files in DIR. Default: *.nc.")
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
    forcing: Path | None,
    overwrite: bool,
    folder: Path | None,
    once: bool,
    poll: float | None,
    patience: float | None,
    max_gap: int | None,
    fresh: bool,
    pattern: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Forecast from the last frames of a file with a trained run.

    INPUT holds the variables the run was trained on, in their units, at the same time step; without it the run's own
    data are read. No frame after a start is read. The horizon may be longer than the trained one, and the region
    another or a larger one where the run keeps nothing that belongs to cells.

    With --stream frames are taken in as they arrive, the state is kept, and FILE is a folder that gets a forecast for
    each frame; the same command goes on where it was stopped. FORCING may be written anew meanwhile: a frame waits
    until it reaches as far as its forecast.

    \b
    Examples:
        stkit predict runs/demo sst.nc -o forecast.nc
        stkit predict runs/demo sst.nc -o forecast.nc --start 2010-06 --horizon 12
        stkit predict runs/demo sst.nc -o year.zarr --start 2009-01..2009-12
        stkit predict runs/seed-0 sst.nc -o ensemble.nc --member runs/seed-1 --member runs/seed-2 --lags 3 --statistics
        stkit predict runs/radar --stream incoming -o nowcasts --horizon 12
        stkit predict runs/ocean --stream incoming --forcing wind.nc -o forecasts --member runs/ocean-1 --lags 2
    """
    streaming = {
        "once": once,
        "poll": poll,
        "patience": patience,
        "max_gap": max_gap,
        "fresh": fresh,
        "pattern": pattern,
    }
    if folder is not None:
        batch = {
            "INPUT": source,
            "--start": starts,
            "--every": every != 1,
            "--refit": refit,
            "--overwrite": overwrite,
        }
        _refuse(batch, "is not for --stream")
        given = {_FIELDS.get(name, name): value for name, value in streaming.items() if value is not None}
        shared = {"horizon": horizon, "lags": lags, "statistics": statistics, "by_valid_time": by_valid_time}
        _stream([run, *members], folder, out, {**given, **shared}, forcing, device, as_json)
        return
    _refuse({f"--{name.replace('_', '-')}": value for name, value in streaming.items()}, "is for --stream DIR")
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
        forcing=forcing,
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


_FIELDS = {"poll": "poll_seconds", "patience": "patience_seconds"}
"""Options whose field has a unit in its name."""


def _refuse(options: Mapping[str, Any], why: str) -> None:
    from stkit.errors import UsageError

    for name, given in options.items():
        if given is not None and given is not False and given != ():
            raise UsageError(f"{name}: {why}")


def _stream(
    runs: Sequence[Path],
    folder: Path,
    out: Path,
    options: Mapping[str, Any],
    forcing: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    import json

    from stkit.predict.stream import follow
    from stkit.predict.stream_options import Streamed, StreamOptions

    def told(one: Streamed) -> None:
        click.echo(json.dumps(one.as_dict()) if as_json else f"{one.out}: from {one.start}")

    done = follow(runs, folder, out, StreamOptions(**options), forcing=forcing, device=device, told=told)
    if as_json:
        click.echo(json.dumps({"stream": done.as_dict()}))
        return
    click.echo(
        f"{done.frames} frames taken in, {done.forecasts} forecasts, {done.refused} frames left out, "
        f"{done.stood_in} stood in for, begun again {done.restarts} times; the same command goes on from here",
        err=True,
    )
