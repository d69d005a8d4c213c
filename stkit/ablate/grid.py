"""The grid as it is written on the command line: ``attention=none,sam nonstationary=none,mim``. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from stkit.errors import UsageError

_OPENING = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is varied."""

    name: str
    values: tuple[str, ...]
    """As they were written, the first one for the first cell."""


def parse_grid(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Read the axes of a grid.

    Raises:
        UsageError: one is not ``AXIS=V1,V2``, a value is empty or written twice, a bracket or quote does not close.
    """
    axes: list[Axis] = []
    for text in texts:
        axis = _axis(text)
        if any(axis.name == other.name for other in axes):
            raise UsageError(f"--grid {text}: the axis {axis.name!r} is there twice; write all its values in one list")
        axes.append(axis)
    if not axes:
        raise UsageError("--grid: name at least one axis, such as attention=none,sam")
    return tuple(axes)


def cells(axes: Sequence[Axis]) -> Iterator[Mapping[str, str]]:
    """Every combination, the last axis varying fastest; the first cell has the first value of each axis."""
    for values in product(*(axis.values for axis in axes)):
        yield dict(zip((axis.name for axis in axes), values, strict=True))


def cell_name(values: Mapping[str, str]) -> str:
    """``attention=none nonstationary=mim``."""
    return " ".join(f"{axis}={value}" for axis, value in values.items())


def _axis(text: str) -> Axis:
    name, equals, listed = text.partition("=")
    name = name.strip()
    if not equals or not name or any(character.isspace() for character in name):
        raise UsageError(f"--grid {text}: expected AXIS=VALUE,VALUE, such as attention=none,sam")
    values = [value.strip() for value in split_values(listed, f"--grid {text}")]
    if not all(values):
        what = "has no values" if values == [""] else "has an empty value"
        raise UsageError(f"--grid {text}: the axis {what}; write null for none at all")
    twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if twice is not None:
        raise UsageError(f"--grid {text}: the value {twice!r} is there twice")
    return Axis(name, tuple(values))


def split_values(text: str, where: str) -> list[str]:
    """Cut at the commas that stand outside brackets and quotes.

    Raises:
        UsageError: a bracket or a quote does not close.
    """
    values, start, quote = [], 0, ""
    closing: list[str] = []
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in _OPENING:
            closing.append(_OPENING[character])
        elif character in _OPENING.values():
            if not closing or closing.pop() != character:
                raise UsageError(f"{where}: {character!r} closes nothing")
        elif character == "," and not closing:
            values.append(text[start:place])
            start = place + 1
    if quote or closing:
        raise UsageError(f"{where}: {quote or closing[-1]!r} is missing at the end")
    return [*values, text[start:]]
