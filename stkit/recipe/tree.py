"""A recipe while it is being put together: plain values, each with the place where it was written. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
"""Keys and positions from the root of a recipe to a value."""


@dataclass(frozen=True)
class Source:
    """A text that recipe values come from."""

    label: str
    """A file as the user would open it, or what stands for it (``override 'train.steps=7'``)."""
    text: str = field(default="", repr=False)
    is_file: bool = True

    @cached_property
    def lines(self) -> list[str]:
        """The text, cut at line feeds as YAML does."""
        return self.text.split("\n")


class Mark(NamedTuple):
    """A place in a source; line and column from 0. Line -1 is the source as a whole."""

    source: Source
    line: int = 0
    column: int = 0
    length: int = 1

    def __str__(self) -> str:
        in_line = self.source.is_file and self.line >= 0
        return f"{self.source.label}:{self.line + 1}:{self.column + 1}" if in_line else self.source.label

    def excerpt(self) -> str:
        """The line with a caret under the place; empty where there is none to show."""
        if not self.source.is_file or not 0 <= self.line < len(self.source.lines):
            return ""
        line = self.source.lines[self.line].replace("\t", " ").rstrip("\r")
        number = str(self.line + 1)
        carets = "^" * max(1, min(self.length, len(line) - self.column))
        return f"  {number} | {line}\n  {' ' * len(number)} | {' ' * self.column}{carets}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a recipe: a scalar, a mapping of nodes or a list of nodes."""

    value: Any
    mark: Mark
    """Where the value is."""
    key: Mark | None = None
    """Where its key is; None in lists and at the root."""


class Positions(dict[str, Node]):
    """What an override says about single items of a list: ``model.layers.0.width=8``."""


def plain(node: Node) -> Any:
    """The values without their places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def node_from(value: Any, mark: Mark, key: Mark | None = None) -> Node:
    """Plain values as nodes that all have one place."""
    if isinstance(value, Mapping):
        return Node({str(k): node_from(v, mark, mark) for k, v in value.items()}, mark, key)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Node([node_from(v, mark) for v in value], mark, key)
    return Node(value, mark, key)


def merge(below: Node, above: Node) -> Node:
    """Lay one tree over another: mappings merge, scalars and lists replace.

    Where ``name`` changes, nothing of the component below is kept. A bare string stands for ``{name: string}`` where it
    meets a mapping, or a mapping meets it.
    """
    low, high = below.value, above.value
    if isinstance(low, list) and isinstance(high, Positions):
        return _merge_positions(below, above)
    if isinstance(low, str) and isinstance(high, dict) and not isinstance(high, Positions):
        low = {"name": Node(low, below.mark)}
    elif isinstance(low, dict) and isinstance(high, str):
        high = {"name": Node(high, above.mark)}
    if not (isinstance(low, dict) and isinstance(high, dict)):
        return above
    if "name" in low and "name" in high and low["name"].value != high["name"].value:
        return Node(high, above.mark, above.key)
    merged = dict(low)
    for key, child in high.items():
        merged[key] = merge(merged[key], child) if key in merged else child
    both = isinstance(low, Positions) and isinstance(high, Positions)
    # What is missing in a mapping is told at a file where there is one.
    shown = above if above.mark.source.is_file or not below.mark.source.is_file else below
    return Node(Positions(merged) if both else merged, shown.mark, shown.key)


def _merge_positions(below: Node, above: Node) -> Node:
    items = list(below.value)
    for key, child in above.value.items():
        index = int(key)
        if index >= len(items):
            # Left as it is: the check of the shape says that a list is expected, and where.
            return above
        items[index] = merge(items[index], child)
    return Node(items, below.mark, below.key)


def descend(node: Node, path: Path) -> tuple[Node, Path]:
    """Follow a path as far as it goes: the node reached, and its path."""
    reached: Path = ()
    for part in path:
        child = _child(node, part)
        if child is not None:
            node, reached = child, (*reached, part)
    return node, reached


def replace_at(node: Node, path: Path, new: Node) -> Node:
    """A copy of the tree with another node at an existing path."""
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(node.value, dict):
        children: Any = type(node.value)(node.value)
    else:
        children = list(node.value)
    children[head] = replace_at(children[head], rest, new)
    return Node(children, node.mark, node.key)


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, dict) and isinstance(part, str):
        return node.value.get(part)
    if isinstance(node.value, list) and isinstance(part, int) and 0 <= part < len(node.value):
        found: Node = node.value[part]
        return found
    return None
