"""``stkit info``."""

from __future__ import annotations

import rich_click as click

from stkit.cli.output import json_option, print_json
from stkit.cli.parameters import ComponentName


@click.command()
@click.argument("name", type=ComponentName())
@click.option("--kind", help="Where several kinds have the name: recipes, architectures, cells, modules ...")
@click.option("--no-build", is_flag=True, help="Do not build the model to count its parameters (imports no torch).")
@json_option
def command(name: str, kind: str | None, no_build: bool, as_json: bool) -> None:
    """Tell all about an architecture, cell, module, loss, score, dataset or recipe.

    The paper and its code, the variants and how they differ, the fields with their defaults, the states and slots, the
    shipped recipes that use it, and the parameters at those.

    \b
    Examples:
        stkit info predrnn
        stkit info predrnn/st_lstm --json
        stkit info predrnn-sst --no-build
    """
    from stkit.cli.describe import describe_all
    from stkit.cli.info_text import as_text

    found = describe_all(name, kind, build=not no_build)
    if as_json:
        print_json(found)
        return
    click.echo("\n\n".join(as_text(entry) for entry in found))
