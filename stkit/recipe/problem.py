"""One thing wrong with a recipe, and how it is told: where, what, the line, a caret. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stkit.errors import RecipeError
from stkit.recipe.tree import Mark, Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a recipe."""

    message: str
    path: Path = ()
    """Keys to the value; empty where the file as a whole is wrong."""
    mark: Mark | None = None

    def __str__(self) -> str:
        parts = [] if self.mark is None else [str(self.mark)]
        if self.path:
            parts.append(dotted(self.path))
        text = ": ".join([*parts, self.message])
        excerpt = "" if self.mark is None else self.mark.excerpt()
        return f"{text}\n{excerpt}" if excerpt else text

    def as_json(self) -> dict[str, Any]:
        """For ``--json``; line and column from 1."""
        in_file = self.mark is not None and self.mark.source.is_file and self.mark.line >= 0
        return {
            "source": self.mark.source.label if self.mark else None,
            "line": self.mark.line + 1 if self.mark and in_file else None,
            "column": self.mark.column + 1 if self.mark and in_file else None,
            "path": dotted(self.path),
            "message": self.message,
        }


def dotted(path: Path) -> str:
    """A path as it is written in an override."""
    return ".".join(map(str, path))


def refuse(problems: Iterable[Problem]) -> None:
    """Raise all problems as one :class:`stkit.errors.RecipeError`; do nothing if there is none."""
    found = tuple(dict.fromkeys(problems))
    if found:
        raise RecipeError("\n".join(map(str, found)), found)


def refusal(message: str, path: Path = (), mark: Mark | None = None) -> RecipeError:
    """The error for one problem."""
    problem = Problem(message, path, mark)
    return RecipeError(str(problem), (problem,))
