"""Kinds of arguments that several commands take, with their completion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from click.shell_completion import CompletionItem


class RecipeRef(click.ParamType[str]):
    """A file, a recipe's name, a run directory, or a composition ``a+b``; names and files complete."""

    name = "ref"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of recipes; after a ``+`` names of what may be put on top."""
        from stkit.plugin.manager import plugins

        head, plus, tail = incomplete.rpartition("+")
        specs = plugins().specs("recipes")
        names = plugins().names("recipes")
        items = [
            CompletionItem(f"{head}{plus}{name}", help=spec.summary)
            for name, spec in zip(names, specs, strict=True)
            if name.startswith(tail)
        ]
        files = [CompletionItem(str(path)) for path in _files(incomplete)]
        return items + files


class ComponentName(click.ParamType[str]):
    """The name of anything that ``stkit list`` shows."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of all kinds."""
        from stkit.plugin.manager import plugins

        kinds = ("stacks", "cells", "modules", "losses", "metrics", "datasets", "recipes")
        names = sorted({name for kind in kinds for name in plugins().names(kind)})
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def recipe_arguments(function: Any) -> Any:
    """The arguments ``REF [KEY.PATH=VALUE]...``; the parameters are ``ref`` and ``overrides``."""
    function = click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")(function)
    return click.argument("ref", type=RecipeRef(), metavar="REF")(function)


def _files(incomplete: str) -> list[Path]:
    folder, _, start = incomplete.rpartition("/")
    try:
        found = sorted(Path(folder or ".").iterdir())
    except OSError:
        return []
    return [path for path in found if path.name.startswith(start) and path.suffix in (".yaml", ".yml")]
