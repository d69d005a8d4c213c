"""What a plugin's code was held against, and how near it came: records that its package carries. Imports no torch.

A record is written by a command, from a run, and never typed. :attr:`stkit.api.Paper.parity` names it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from stkit.errors import PluginError
from stkit.plugin.resource import find_resource
from stkit.plugin.specs import Paper


@dataclass(frozen=True, slots=True)
class Parity:
    """One file of numbers that another implementation gave, and how far the code here is from them."""

    file: str
    """The file's name."""
    repository: str
    """Of the code that gave the numbers: ``owner/name``."""
    commit: str
    """Of that code."""
    part: str
    """The class or function of that code."""
    shipped: bool
    """The file is kept beside the tests."""
    tensors: int
    """How many tensors were compared: outputs, states, losses, gradients."""
    dtype: str
    """Of the numbers compared."""
    largest_error: float
    """Largest absolute difference of two numbers."""
    limit: float
    """What it must stay below."""


def parity_of(paper: Paper | None) -> tuple[Parity, ...]:
    """The rows of the record that a paper's plugin carries; none where it names no record.

    Raises:
        PluginError: if the record that it names is not there, or is none.
    """
    if paper is None or not paper.parity:
        return ()
    where = f"the parity record {paper.parity!r} of {paper.title!r}"
    try:
        path = find_resource(paper.parity)
        if path is None:
            raise PluginError(f"{where} is not there")
        return tuple(Parity(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"])
    except (ImportError, OSError, ValueError, TypeError, KeyError) as error:
        known = ", ".join(field.name for field in fields(Parity))
        raise PluginError(f"{where} cannot be read: {error}; it is JSON with 'rows', each with {known}") from error


def as_record(rows: list[dict[str, Any]]) -> str:
    """The text of a record."""
    return json.dumps({"rows": rows}, indent=1) + "\n"
