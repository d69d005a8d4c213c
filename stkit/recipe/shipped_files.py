"""Where the shipped recipes are, and the files of plugins' recipes. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from stkit.errors import PluginError
from stkit.plugin.resource import find_resource
from stkit.plugin.specs import RecipeSpec

_PACKAGE = "stkit"
_INSIDE = "recipe/shipped"


@cache
def shipped_directory() -> Path:
    """The folder of the shipped recipes: inside an installed package, ``recipes/`` of a checkout."""
    installed = Path(__file__).parent / "shipped"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"


def shipped_specs() -> Iterator[RecipeSpec]:
    """One spec for each shipped recipe and overlay."""
    for path in sorted(shipped_directory().glob("*.yaml")):
        yield RecipeSpec(name=path.stem, resource=f"{_PACKAGE}:{_INSIDE}/{path.name}", summary=summary_line(path))


def recipe_path(spec: RecipeSpec) -> Path:
    """The file of a registered recipe.

    Raises:
        PluginError: if the plugin's package has no such file.
    """
    package, _, inside = spec.resource.partition(":")
    if package == _PACKAGE:
        return shipped_directory() / Path(inside).name
    try:
        path = find_resource(spec.resource)
    except (ImportError, ValueError) as error:
        raise PluginError(f"the package of the recipe {spec.qualified_name!r} cannot be found: {error}") from None
    if path is not None:
        return path
    raise PluginError(f"the recipe {spec.qualified_name!r} ({spec.distribution}) has no file at {spec.resource!r}")


def summary_line(path: Path) -> str:
    """The value of ``summary:``, or else the first comment. Read as text: the index must be quick."""
    comment = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("summary:"):
            return line.removeprefix("summary:").strip().strip("\"'")
        if line.startswith("#") and not comment:
            comment = line.lstrip("# ").strip()
    return comment
