"""``stkit bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.core import ParameterSource

from stkit.cli.output import json_option, print_json, print_table
from stkit.cli.parameters import recipe_arguments
from stkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stkit.bench.compare import Change


@click.command()
@recipe_arguments
@click.option("--rounds", type=click.IntRange(min=1), default=5, metavar="N", help="Rounds that count. Default: 5.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=0.5,
    metavar="S",
    help="The least that training and forecasting take in each round. Default: 0.5.",
)
@click.option("--no-startup", is_flag=True, help="Do not time a fresh process, which trains on the recipe's own data.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the record, as JSON.")
@click.option("--overwrite", is_flag=True, help="Write over the record if it is there.")
@click.option("--compare", type=click.Path(path_type=Path), metavar="RECORD", help="Compare with an earlier record.")
@click.option(
    "--other-recipe",
    is_flag=True,
    help="With --compare: the record may be of another recipe, to see what a change of it costs.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.1,
    metavar="SHARE",
    help="With --compare: end with exit code 1 where a figure got worse by more than this share. Default: 0.1.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    ref: str,
    overrides: tuple[str, ...],
    rounds: int,
    seconds: float,
    no_startup: bool,
    out: Path | None,
    overwrite: bool,
    compare: Path | None,
    other_recipe: bool,
    tolerance: float,
    as_json: bool,
) -> None:
    """Measure how fast a recipe trains and forecasts on this machine, on generated data of its shapes.

    A step is one optimiser step on one batch of the recipe. A sequence is one window, its context and its horizon:
    in training once through the model and back, in forecasting the whole horizon from the whole context. Memory is what
    tensors hold at the highest, weights and optimiser included. Launches are operations that are no views. The share of
    the peak is the arithmetic of direct convolutions over the time and what a product of matrices or a convolution
    reaches here; an engine that computes less than that may exceed 1.

    \b
    Examples:
        stkit bench predrnn-sst
        stkit bench predrnn-mnist train.batch_size=4 --out before.json
        stkit bench predrnn-mnist train.batch_size=4 --compare before.json --tolerance 0.05
        stkit bench predrnn-mnist model.engine=direct --compare before.json --other-recipe
    """
    from stkit.bench.compare import check_comparable, other_circumstances, read_record
    from stkit.bench.compare import compare as changes_between
    from stkit.recipe.loaded import load
    from stkit.run.files import write_json

    _check_options(ctx, out, compare)
    _check_out(out, overwrite)
    earlier = None if compare is None else read_record(compare)
    loaded = load(ref, overrides)

    from stkit.bench.machine import machine
    from stkit.bench.measure import measure
    from stkit.train.device import make_accelerator

    if earlier is not None and compare is not None:
        here = machine(make_accelerator(loaded.recipe.train.precision).device)
        check_comparable(
            earlier,
            recipe_hash=loaded.hash,
            recipe=loaded.name,
            machine=here,
            path=compare,
            other_recipe=other_recipe,
        )
    record = measure(loaded, rounds=rounds, seconds=seconds, startup=not no_startup)
    changes = [] if earlier is None else changes_between(earlier, record, tolerance)
    besides = [] if earlier is None else other_circumstances(earlier, record)
    if out is not None:
        write_json(out, record)
    if as_json:
        told: dict[str, Any] = {}
        if earlier is not None:
            told = {"changes": [change.as_dict() for change in changes], "also_different": besides}
        print_json({**record, **told})
    else:
        _print(record)
        if earlier is not None:
            _print_changes(changes, tolerance)
            for line in besides:
                click.echo(f"also different  {line}")
        if out is not None:
            click.echo(f"\nrecord  {out}")
    if any(change.past_limit for change in changes):
        ctx.exit(1)


def _check_options(ctx: click.Context, out: Path | None, compare: Path | None) -> None:
    """Options that would do nothing."""
    needs = {"overwrite": ("--out", out), "tolerance": ("--compare", compare), "other_recipe": ("--compare", compare)}
    for name, (option, given) in needs.items():
        asked = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if asked and given is None:
            raise UsageError(f"--{name.replace('_', '-')} goes with {option}, which is not given")


def _check_out(out: Path | None, overwrite: bool) -> None:
    if out is None:
        return
    if out.is_dir():
        raise UsageError(f"--out {out}: this is a folder; name a file, such as {out / 'bench.json'}")
    if out.exists() and not overwrite:
        raise UsageError(f"--out {out}: the file exists; --overwrite writes over it")


def _print(record: Mapping[str, Any]) -> None:
    where = record["machine"]
    name = where["processor"] if where["device"] == "cpu" else where["device"]
    click.echo(f"{record['recipe']} on {name}, {where['threads']} threads, {record['rounds']} rounds\n")
    rows = []
    for part, per in (("training", "step"), ("forecast", "batch")):
        found = record[part]
        low, high = found["spread"]
        launches = [found[key] for key in ("launches_forward", "launches_backward") if key in found]
        rows.append(
            [
                part,
                f"{found['seconds']:.4g} s a {per}",
                f"{low:.4g} to {high:.4g}",
                f"{1 / found['seconds']:.4g}",
                f"{found['sequences'] / found['seconds']:.4g}",
                f"{found['peak_bytes'] / 1e6:,.1f} MB",
                " + ".join(f"{count:,}" for count in launches),
            ]
        )
    print_table(["", "time", "spread", "a second", "sequences a second", "memory", "launches"], rows)
    share, peak = record["training"]["share_of_peak"], record["training"]["peak_flops_per_second"]
    click.echo(f"\nshare of the peak  {share:.1%} of {peak / 1e9:,.0f} GFLOP/s in training")
    if "startup" in record:
        told = record["startup"]
        click.echo(
            f"start-up           {told['first_step']:.1f} s to the end of the first step "
            f"(imports {told['imported']:.1f} s, data and model {told['assembled'] - told['imported']:.1f} s)"
        )


def _print_changes(changes: list[Change], tolerance: float) -> None:
    click.echo()
    rows = []
    for change in changes:
        limit = f", past the limit of {tolerance:.0%}" if change.past_limit else ""
        ratio = change.now / change.before if change.before else float("inf")
        word: str = change.word
        if change.figure == "seconds" and word == "as before" and abs(ratio - 1) > tolerance:
            word = "as before: the rounds of both overlap; more --rounds tell more"
        rows.append([*_figure(change), f"{ratio:.2f} x", word + limit])
    print_table(["", "before", "now", "ratio", ""], rows)


def _figure(change: Change) -> tuple[str, str, str]:
    """What it is called, before and now, with units."""
    before, now = change.before, change.now
    if change.figure == "peak_bytes":
        return f"{change.part} memory", f"{before / 1e6:,.1f} MB", f"{now / 1e6:,.1f} MB"
    if change.figure == "seconds":
        return f"{change.part} time", f"{before:.4g} s", f"{now:.4g} s"
    return f"{change.part} {change.figure.replace('_', ' ')}", f"{before:,.0f}", f"{now:,.0f}"
