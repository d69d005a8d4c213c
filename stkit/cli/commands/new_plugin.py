"""``stkit new-plugin``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from stkit.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from stkit.plugin.scaffold import Names


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--cell", metavar="CELL", help="Name of the cell in recipes. Default: NAME.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the package. Default: NAME.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty; files that it replaces are listed.")
@click.option("--dry-run", is_flag=True, help="List the files; write nothing.")
@json_option
def command(name: str, cell: str | None, out: Path | None, force: bool, dry_run: bool, as_json: bool) -> None:
    """Write the package of a plugin of your own, to start from.

    It works as it is: a cell, an architecture and a recipe of it, tests that hold the cell to what stkit relies on, a
    README and a workflow for continuous integration. The distribution is called stkit-NAME.

    \b
    Examples:
        stkit new-plugin my-idea
        stkit new-plugin my-idea --cell my_lstm --out ~/plugins/my-idea
        stkit new-plugin my-idea --dry-run
    """
    from stkit.plugin import scaffold

    names = scaffold.names_for(name, cell)
    folder = Path(name) if out is None else out
    files = scaffold.render(names)
    replaced = scaffold.in_the_way(folder, files, force=force)
    if not dry_run:
        scaffold.write(folder, files)

    rows = [
        {"path": path, "about": about, "replaced": path in replaced}
        for path, about in scaffold.described(names).items()
    ]
    if as_json:
        about = {"plugin": names.plugin, "cell": names.cell, "distribution": names.distribution}
        about |= {"package": names.package, "recipe": names.recipe, "folder": str(folder)}
        print_json({**about, "written": not dry_run, "files": rows})
        return
    shown = [[str(row["path"]), f"{row['about']}{' (REPLACED)' if row['replaced'] else ''}"] for row in rows]
    print_table(["file", "what it is for"], shown, f"{'Would write' if dry_run else 'Wrote'} {folder}")
    if not dry_run:
        click.echo(_next(folder, names), err=True)


def _next(folder: Path, names: Names) -> str:
    return f"""
Next:
  cd {shlex.quote(str(folder))}
  pip install -e '.[test]'
  stkit info {names.cell}
  pytest
  stkit recipe {names.recipe}
Then change the equations in {names.package}/cell.py; README.md says what else.
No licence was chosen: fill in `license` in pyproject.toml before anyone else may use it."""
