"""What can go wrong in a way that the user can mend. Imports no torch.

Each message says what is wrong, where, what was received, what is known, and the nearest match. The command line
prints it without a traceback and ends with the error's ``exit_code``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class StkitError(Exception):
    """Base of the errors that are told to the user as one message."""

    exit_code: int = 1


class UsageError(StkitError):
    """Something asked for is wrong or not there: an argument, a file, a device."""

    exit_code = 2


class RecipeError(UsageError):
    """One or more things wrong with a recipe, each with the place where it was written.

    Args:
        message: all problems as text.
        problems: the same one by one, :class:`stkit.recipe.problem.Problem`.
    """

    def __init__(self, message: str, problems: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class DataError(UsageError):
    """The data does not fit: a variable that is not there, too few time steps, another grid, nothing but NaN."""


class CheckpointError(UsageError):
    """A checkpoint is incomplete, damaged or belongs to another recipe."""


class RunFailed(StkitError):
    """The run itself failed: a loss that is not finite, a full disk."""


class PluginError(StkitError):
    """A plugin is broken, and either the strict switch is on or something of it is needed."""


class UnknownComponent(UsageError, LookupError):
    """No installed plugin provides a component of that name."""


class AmbiguousComponent(UsageError, LookupError):
    """More than one plugin provides a component of that short name."""


def nearest(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The names most like ``word``, best first; letter case does not count."""
    by_lower: dict[str, str] = {}
    for name in known:
        by_lower.setdefault(name.lower(), name)
    return [by_lower[hit] for hit in get_close_matches(word.lower(), by_lower, count, 0.6)]


def suggest(word: str, known: Iterable[str], limit: int = 12) -> str:
    """A clause for the end of a message: ``did you mean 'kernel'?``, or else what is known; empty if nothing is."""
    names = sorted(set(known))
    near = nearest(word, names, 2)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    if not names:
        return ""
    shown = ", ".join(names[:limit])
    more = len(names) - limit
    return f"known: {shown}" + (f" and {more} more" if more > 0 else "")
