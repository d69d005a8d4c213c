"""``stkit predict``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.output import json_option, print_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("source", type=click.Path(path_type=Path), metavar="INPUT")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="NetCDF file to write."
)
@click.option("--horizon", type=click.IntRange(min=1), metavar="N", help="Time steps to forecast. Default: as trained.")
@click.option(
    "--start", metavar="TIME", help="The last known frame, such as 2010-06 or 2010-06-16T12:00. Default: INPUT's last."
)
@click.option("--overwrite", is_flag=True, help="Write over FILE.")
@click.option("--device", metavar="DEVICE", help="Where to compute, such as cuda. Default: cpu.")
@json_option
def command(
    run: Path,
    source: Path,
    out: Path,
    horizon: int | None,
    start: str | None,
    overwrite: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Forecast from the last frames of a NetCDF file with a trained run.

    INPUT holds the variables the run was trained on, in their units, on the same grid, at the same time step. No frame
    after the start is read. The horizon may be longer than the trained one.

    \b
    Examples:
        stkit predict runs/demo sst.nc -o forecast.nc
        stkit predict runs/demo sst.nc -o forecast.nc --start 2010-06 --horizon 12
    """
    from stkit.evaluate.words import steps_text
    from stkit.predict.forecast import predict

    done = predict(run, source, out, horizon=horizon, start=start, overwrite=overwrite, device=device)
    if as_json:
        print_json(done.as_dict())
        return
    until = f" to {done.last}" if done.last is not None else ""
    click.echo(
        f"{done.out}: {', '.join(done.variables)}, {steps_text(done.horizon, done.step)} from {done.start}{until}"
    )
