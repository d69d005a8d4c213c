"""``stkit advise``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from stkit.cli.output import console, json_option, print_json, print_table

if TYPE_CHECKING:
    from stkit.advise.advice import Advice


@click.command()
@click.argument("file", metavar="FILE")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--variable", metavar="NAME", help="Which variable. Needed where there are several.")
@click.option("--season", type=float, metavar="STEPS", help="Period of the season. Default: the year, and the day.")
@click.option("--cells", type=click.IntRange(min=1), default=400, show_default=True, help="Cells tested at most.")
@click.option(
    "--false-share", type=float, default=0.05, show_default=True, help="False finds allowed among the finds of a test."
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="PAGE", help="Write a page (.html) or the maps (.png)."
)
@click.option("--overwrite", is_flag=True, help="Write over PAGE.")
@json_option
def command(
    file: str,
    settings: tuple[str, ...],
    variable: str | None,
    season: float | None,
    cells: int,
    false_share: float,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Tell whether a field is stationary, and what that suggests to try.

    FILE is a NetCDF file or pattern as the data set netcdf reads it, or the name of a data set. Settings of the data
    set are written as under data.dataset in a recipe. Cells are tested one by one (augmented Dickey-Fuller and KPSS),
    with false finds controlled over all cells. What is suggested is a hypothesis; the ablation line tests it.

    \b
    Examples:
        stkit advise sst.nc -o advice.html
        stkit advise ocean.nc select.depth=0.5 --variable temperature
        stkit advise sst_ostia
        stkit advise synthetic_field memory_steps=null
    """
    from stkit.advise.advice import advise
    from stkit.errors import UsageError
    from stkit.recipe.override import override_tree
    from stkit.recipe.tree import plain

    if out is not None and out.suffix.lower() not in (".html", ".png"):
        raise UsageError(f"-o {out}: the page ends in .html, or the maps in .png")
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"-o {out}: the file exists; --overwrite writes over it")
    tree = override_tree(settings)
    advice = advise(
        file,
        None if tree is None else plain(tree),
        variable=variable,
        season=season,
        most_cells=cells,
        false_share=false_share,
    )
    if out is not None:
        from stkit.advise.page import write_maps, write_page

        (write_maps if out.suffix.lower() == ".png" else write_page)(advice, out)
    if as_json:
        print_json(advice.as_dict())
        return
    _print(advice)
    click.echo(
        f"\n{'page' if out.suffix.lower() == '.html' else 'maps'}  {out}" if out else "\n-o PAGE.html draws maps"
    )


def _print(advice: Advice) -> None:
    from rich.text import Text

    from stkit.advise.advice import CAVEAT
    from stkit.advise.stationarity import MEANINGS
    from stkit.advise.words import measured, tried
    from stkit.evaluate.words import percent

    out = console()
    out.print(Text(advice.verdict, style="bold"))
    out.print(Text(advice.worth, style="dim"))
    out.print()
    shares = advice.findings.shares
    print_table(["cells", "", "what it means"], [[name, percent(shares[name]), MEANINGS[name]] for name in shares])
    out.print()
    for name, value in measured(advice).items():
        out.print(Text(f"{name}: {value}"))
    out.print()
    out.print(Text("What to try", style="bold"))
    for reason in advice.suggestion.reasons:
        out.print(Text(textwrap.fill(reason, max(out.width - 2, 40), initial_indent="- ", subsequent_indent="  ")))
    out.print(Text(CAVEAT, style="dim"))
    click.echo(f"\n{advice.suggestion.line}")
    out.print(Text(f"({tried(advice)})", style="dim"))
