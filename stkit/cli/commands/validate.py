"""``stkit validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from stkit.cli.output import json_option, print_json, print_table
from stkit.cli.parameters import recipe_arguments
from stkit.errors import RecipeError

if TYPE_CHECKING:
    from stkit.recipe.dryrun import DryRun, LayerCount
    from stkit.recipe.loaded import LoadedRecipe


@click.command()
@recipe_arguments
@click.option("--dry-run", is_flag=True, help="Also build the model without memory: parameters, FLOPs, memory.")
@click.option("--show", is_flag=True, help="Print the resolved recipe, every value said.")
@json_option
@click.pass_context
def command(ctx: click.Context, ref: str, overrides: tuple[str, ...], dry_run: bool, show: bool, as_json: bool) -> None:
    """Check a recipe: its shape, its sense and, with --dry-run, its model.

    REF is a file, the name of a recipe, a run directory, or a composition such as predrnn-sst+netcdf.

    \b
    Examples:
        stkit validate predrnn-sst
        stkit validate my.yaml train.steps=200 --dry-run
        stkit validate predrnn-sst --show > everything.yaml
    """
    from stkit.recipe.loaded import load

    try:
        loaded = load(ref, overrides)
    except RecipeError as error:
        if not as_json:
            raise
        problems = [problem.as_json() for problem in error.problems] or [{"message": str(error)}]
        print_json({"valid": False, "problems": problems})
        ctx.exit(error.exit_code)
    counted = None
    if dry_run:
        from stkit.recipe.dryrun import dry_run as count

        counted = count(loaded)
    if as_json:
        print_json(_as_json(loaded, counted, show))
        return
    if show:
        click.echo(loaded.resolved_yaml(), nl=False)
    # On stderr where the recipe itself is on stdout.
    click.echo(f"{loaded.name}: the recipe is sound (hash {loaded.hash[:12]})", err=show)
    if counted is not None:
        _print_counts(counted, loaded)


def _as_json(loaded: LoadedRecipe, counted: DryRun | None, show: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"valid": True, "name": loaded.name, "hash": loaded.hash, "problems": []}
    if show:
        out["recipe"] = loaded.recipe.model_dump(mode="json")
    if counted is not None:
        out["dry_run"] = counted.as_dict()
    return out


def _print_counts(counted: DryRun, loaded: LoadedRecipe) -> None:
    click.echo()
    rows = [[c.name, str(c.in_channels), str(c.width), f"{c.parameters:,}", _attention(c)] for c in counted.layers]
    around = counted.nonstationary_parameters
    if counted.nonstationary is not None:
        rows.insert(0, [f"{counted.nonstationary}, in and out", "", "", f"{around:,}", ""])
    rest = counted.parameters - around - sum(c.parameters for c in counted.layers)
    rows.append(["head", "", str(counted.out_channels), f"{rest:,}", ""])
    columns = ["part", "channels in", "width", "parameters", "attention"]
    shown = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    print_table(columns[:shown], [row[:shown] for row in rows])
    known = counted.in_channels - counted.out_channels
    data = f"{counted.out_channels} fields and {known} known inputs on {counted.height} x {counted.width} cells"
    crop = loaded.recipe.data.crop
    cut = "" if crop is None else f", in crops of {crop.height} x {crop.width} for training"
    click.echo(f"\ndata        {data}{cut}")
    click.echo(f"parameters  {counted.parameters:,}")
    click.echo(f"forward     {human(counted.flops_per_window, 1000, 'FLOP')} for one training window")
    memory = human(counted.training_bytes, 1024, "B")
    click.echo(f"training    about {memory} with a batch of {loaded.recipe.train.batch_size} in float32")


def _attention(layer: LayerCount) -> str:
    return ", ".join(f"{place}: {name}" for place, name in layer.attention.items())


def human(number: float, base: int, unit: str) -> str:
    """``1.5 GB``."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < base:
            return f"{number:.3g} {prefix}{unit}"
        number /= base
    return f"{number:.3g} P{unit}"
