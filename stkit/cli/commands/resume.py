"""``stkit resume``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.launching import launch_options, start


@click.command()
@click.argument("run_directory", type=click.Path(path_type=Path), metavar="RUN")
@launch_options
@click.pass_context
def command(
    ctx: click.Context, run_directory: Path, gpus: int | None, processes: int | None, no_eval: bool, as_json: bool
) -> int:
    """Go on with a run from its latest checkpoint, as if it had never stopped.

    On a CPU the result is the same bit for bit. A run whose training is complete is scored and reported only.

    \b
    Examples:
        stkit resume runs/predrnn-sst/20250101-120000
        stkit resume runs/predrnn-mnist/20250101-120000 --gpus 4
    """
    from stkit.run.directory import RunDirectory
    from stkit.run.execute import Executed, resume

    def run() -> Executed:
        return resume(run_directory, evaluate=not no_eval)

    def check() -> None:
        RunDirectory.open(run_directory)

    arguments = ["resume", str(run_directory)]
    return start(ctx, arguments, run, check, gpus=gpus, processes=processes, no_eval=no_eval, as_json=as_json)
