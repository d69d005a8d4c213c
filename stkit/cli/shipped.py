"""The shipped recipes, for what is told of a component. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from stkit.errors import StkitError
from stkit.plugin.manager import plugins
from stkit.recipe.compose import Composed, compose
from stkit.recipe.loaded import LoadedRecipe, checked
from stkit.recipe.tree import plain


class Shipped:
    """The recipes of the installed plugins, each read and checked once, when it is first needed. Overlays are none."""

    def __init__(self) -> None:
        self._read: dict[str, Composed | None] = {}
        self._checked: dict[str, LoadedRecipe | None] = {}

    def users(self, uses: Callable[[Any], bool], *, by_default: bool) -> list[str]:
        """Names of those whose values use something.

        Args:
            uses: whether a recipe's values do.
            by_default: one that does not name it may use it, too. Otherwise only those are checked that name it as they
                are written: to read a recipe takes little, to check it imports the configuration of all that it names.
        """
        return [
            name
            for name, ref, composed in self._each()
            if (by_default or uses(plain(composed.tree)))
            and (loaded := self._loaded(ref, composed)) is not None
            and uses(loaded.recipe.model_dump())
        ]

    def named(self, names: Collection[str]) -> dict[str, LoadedRecipe]:
        """Those of these names."""
        found = {name: self._loaded(ref, composed) for name, ref, composed in self._each() if name in names}
        return {name: loaded for name, loaded in found.items() if loaded is not None}

    def _each(self) -> Iterator[tuple[str, str, Composed]]:
        """Name, qualified name and text of each that can be read."""
        for spec in plugins().specs("recipes"):
            ref = spec.qualified_name
            if ref not in self._read:
                try:
                    self._read[ref] = compose(ref)
                except StkitError:
                    self._read[ref] = None
            composed = self._read[ref]
            if composed is not None:
                yield spec.name, ref, composed

    def _loaded(self, ref: str, composed: Composed) -> LoadedRecipe | None:
        """None: it is an overlay, or something is wrong in it."""
        if ref not in self._checked:
            try:
                self._checked[ref] = checked(composed)
            except StkitError:
                self._checked[ref] = None
        return self._checked[ref]
