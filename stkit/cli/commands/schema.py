"""``stkit schema``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from stkit.errors import UsageError


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
def command(output: Path | None) -> None:
    """Print the JSON schema of recipe files, with the installed plugins in it.

    An editor with YAML support completes and checks recipes by it, when their first line is
    `# yaml-language-server: $schema=stkit.schema.json`.

    \b
    Examples:
        stkit schema
        stkit schema -o stkit.schema.json
    """
    import json

    from stkit.recipe.schema import recipe_schema

    text = json.dumps(recipe_schema(), indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from None
    click.echo(f"wrote {output}", err=True)
