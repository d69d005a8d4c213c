"""``stkit recipe``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.launching import launch_options, start
from stkit.cli.parameters import recipe_arguments


@click.command()
@recipe_arguments
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Run directory, new or empty. Default: runs/<recipe>/<UTC time>.",
)
@click.option("--dry-run", is_flag=True, help="Check and count parameters, FLOPs and memory; run nothing.")
@launch_options
@click.pass_context
def command(
    ctx: click.Context,
    ref: str,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    gpus: int | None,
    processes: int | None,
    no_eval: bool,
    as_json: bool,
) -> int:
    """Train a recipe, forecast, score it, and leave a report.

    REF is a file, the name of a recipe, a run directory, or a composition such as predrnn-sst+netcdf. Ctrl-C saves and
    prints the line that goes on. Several machines: start it with torchrun or accelerate launch.

    \b
    Examples:
        stkit recipe predrnn-sst
        stkit recipe predrnn-sst train.steps=200 model.layers=[16,16] --out runs/small
        stkit recipe predrnn-mnist --gpus 4
    """
    from stkit.recipe.loaded import load
    from stkit.run.directory import refuse_occupied
    from stkit.run.execute import Executed, execute

    if dry_run:
        from stkit.cli.commands.validate import command as validate

        ctx.invoke(validate, ref=ref, overrides=overrides, dry_run=True, show=False, as_json=as_json)
        return 0
    loaded = load(ref, overrides)

    def run() -> Executed:
        return execute(loaded, out=out, evaluate=not no_eval)

    def check() -> None:
        if out is not None:
            refuse_occupied(out)

    arguments = ["recipe", ref, *overrides, *(["--out", str(out)] if out is not None else [])]
    return start(ctx, arguments, run, check, gpus=gpus, processes=processes, no_eval=no_eval, as_json=as_json)
