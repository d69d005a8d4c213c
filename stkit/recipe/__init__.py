"""Recipes: finding, composing, checking and writing them. Imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stkit.recipe.loaded import LoadedRecipe as LoadedRecipe
    from stkit.recipe.loaded import from_dict as from_dict
    from stkit.recipe.loaded import load as load
    from stkit.recipe.model import Recipe as Recipe

__all__ = ["LoadedRecipe", "Recipe", "from_dict", "load"]

_HOME = {"LoadedRecipe": "loaded", "from_dict": "loaded", "load": "loaded", "Recipe": "model"}


def __getattr__(name: str) -> Any:
    # Lazy: the index of shipped recipes lives in this folder and must not read the whole of it.
    if name in _HOME:
        return getattr(import_module(f"stkit.recipe.{_HOME[name]}"), name)
    raise AttributeError(f"module 'stkit.recipe' has no attribute {name!r}")
