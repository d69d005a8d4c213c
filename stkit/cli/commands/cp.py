"""``stkit cp``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.cli.parameters import RecipeRef
from stkit.errors import UsageError


@click.command()
@click.argument("name", type=RecipeRef())
@click.argument("dest", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(name: str, dest: Path | None, force: bool) -> None:
    """Copy a shipped recipe, to change it. DEST is a file or a folder, by default NAME.yaml here.

    \b
    Examples:
        stkit cp predrnn-sst
        stkit cp predrnn-sst my-first.yaml
    """
    from stkit.recipe.find import find

    found = find(name)
    if len(found) != 1:
        raise UsageError(f"{name!r} is a composition of {len(found)} recipes; copy one of them")
    target = Path(f"{found[0].name}.yaml") if dest is None else dest
    if target.is_dir():
        target /= f"{found[0].name}.yaml"
    try:
        # "x" creates the file or fails: nothing that appears in between is lost.
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(found[0].text)
    except FileExistsError:
        raise UsageError(f"{target} is there already; name another file, or write over it with --force") from None
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from None
    click.echo(f"copied {found[0].label} to {target}", err=True)
    click.echo(f"try: stkit validate {target}", err=True)
