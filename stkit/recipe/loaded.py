"""``load``: from what the user wrote to a checked recipe. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from stkit.recipe.compose import Composed, Layer, assemble, compose
from stkit.recipe.find import safe_name
from stkit.recipe.model import Recipe
from stkit.recipe.problem import Problem
from stkit.recipe.shape import check_shape, locate
from stkit.recipe.tree import Mark, Node, Path, Source, node_from
from stkit.recipe.validate import check_sense
from stkit.recipe.yaml import dump


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe that was checked, with where each value of it came from."""

    recipe: Recipe
    name: str
    """Short, and safe as a folder's name."""
    layers: tuple[tuple[str, str], ...]
    """Source and text of each file that went in, lowest first."""
    overrides: tuple[str, ...]
    tree: Node = field(repr=False, compare=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the recipe's canonical JSON, 64 hexadecimal digits; the first 12 are enough to show."""
        values = self.recipe.model_dump(mode="json")
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()

    def resolved_yaml(self) -> str:
        """Every value said, defaults too: loading this text gives an equal recipe."""
        return dump(self.recipe.model_dump(mode="json"))

    def problem(self, path: Path, message: str) -> Problem:
        """Something wrong with the value at ``path``, told with the place where it was written."""
        return Problem(message, path, locate(self.tree, path))


def load(ref: str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Load and check a recipe.

    Args:
        ref: a file, the name of a shipped or plugin recipe, a run directory, or a composition ``predrnn-sst+netcdf``.
        overrides: ``key.path=value`` with values in YAML, over everything else.

    Raises:
        RecipeError: with everything that is wrong, each with its place.
    """
    return checked(compose(ref, overrides), tuple(overrides))


def from_dict(values: Mapping[str, Any], *, name: str = "recipe") -> LoadedRecipe:
    """A recipe from plain Python values, checked as a file would be.

    Raises:
        RecipeError: with everything that is wrong.
    """
    tree = node_from(values, Mark(Source("recipe", is_file=False)))
    source = Source("python", dump(_yaml_values(values)))
    return checked(assemble(safe_name(name), [Layer(source, tree)]), ())


def checked(composed: Composed, overrides: tuple[str, ...] = ()) -> LoadedRecipe:
    """A recipe from its texts; see :func:`load`."""
    recipe = check_shape(composed.tree, composed.name, composed.problems)
    layers = tuple((layer.source.label, layer.source.text) for layer in composed.layers)
    loaded = LoadedRecipe(recipe, composed.name, layers, overrides, composed.tree)
    check_sense(loaded)
    return loaded


def _yaml_values(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _yaml_values(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_yaml_values(child) for child in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
