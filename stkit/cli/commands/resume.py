"""``stkit resume``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.launching import launch_options, start


@click.command()
@click.argument("run_directory", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
@click.option(
    "--data",
    "new",
    type=click.Path(path_type=Path),
    metavar="NEW",
    help="Go on from RUN's weights in a run of its own on this file (or pattern) with later frames.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --data: where the new run goes.",
)
@click.option(
    "--keep-optimiser",
    is_flag=True,
    help="With --data: go on with the optimiser's moments at RUN's best weights, too. Default: it starts afresh.",
)
@launch_options
@click.pass_context
def command(
    ctx: click.Context,
    run_directory: Path,
    overrides: tuple[str, ...],
    new: Path | None,
    out: Path | None,
    keep_optimiser: bool,
    gpus: int | None,
    processes: int | None,
    no_eval: bool,
    as_json: bool,
) -> int:
    """Go on with a run from its latest checkpoint, as if it had never stopped.

    On a CPU the result is the same bit for bit. A run whose training is complete is scored and reported only.

    With --data training goes on as new data arrive: a new run begins with RUN's best weights and keeps its statistics,
    on frames after the end of RUN's data only, and drift.html says how these differ and what the errors are before and
    after. RUN stays as it is. KEY=VALUE changes the new run's recipe.

    \b
    Examples:
        stkit resume runs/predrnn-sst/20250101-120000
        stkit resume runs/predrnn-mnist/20250101-120000 --gpus 4
        stkit resume runs/mine --data sst-2025.nc --out runs/mine-2025 train.steps=200
    """
    from stkit.errors import UsageError
    from stkit.run.directory import RunDirectory
    from stkit.run.execute import Executed, resume, resume_on

    if new is None and (overrides or out is not None or keep_optimiser):
        what = f"--out {out}" if out is not None else "--keep-optimiser" if keep_optimiser else overrides[0]
        raise UsageError(f"{what}: a run goes on as it began; with --data NEW it goes on in a run of its own")
    if new is not None and (gpus is not None or processes is not None):
        raise UsageError(
            "--data: begins in one process; leave out --gpus and --processes: `stkit resume` of the new run takes them"
        )

    def run() -> Executed:
        if new is not None:
            return resume_on(
                run_directory,
                new,
                out=out,
                overrides=overrides,
                keep_optimiser=keep_optimiser,
                evaluate=not no_eval,
            )
        return resume(run_directory, evaluate=not no_eval)

    def check() -> None:
        RunDirectory.open(run_directory)

    arguments = ["resume", str(run_directory)]
    return start(ctx, arguments, run, check, gpus=gpus, processes=processes, no_eval=no_eval, as_json=as_json)
