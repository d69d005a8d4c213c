"""Overrides of the command line: ``train.steps=7``, ``model.layers.0.width=8``. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stkit.errors import RecipeError
from stkit.recipe.problem import Problem, refuse
from stkit.recipe.tree import Mark, Node, Positions, Source, merge
from stkit.recipe.yaml import parse


def override_tree(overrides: Sequence[str]) -> Node | None:
    """All overrides as one tree to lay over the rest; None if there are none. Of two for one key the later wins.

    Raises:
        RecipeError: naming every override that is not ``key.path=value``, with a value in YAML.
    """
    problems: list[Problem] = []
    trees: list[Node] = []
    for text in overrides:
        try:
            trees.append(_one(text))
        except RecipeError as error:
            problems += error.problems
    refuse(problems)
    whole: Node | None = None
    for tree in trees:
        whole = tree if whole is None else merge(whole, tree)
    return whole


def _one(text: str) -> Node:
    mark = Mark(Source(f"override {text!r}", is_file=False))
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        refuse([Problem("an override is written key.path=value", mark=mark)])
    try:
        node = _placed(parse(Source("value", value)), mark) if value.strip() else Node(None, mark, mark)
    except RecipeError as error:
        why = error.problems[0].message
        refuse([Problem(f"the value is no YAML ({why}); put text with special characters in quotes", mark=mark)])
    for part in reversed(parts):
        children = {part: replace(node, key=mark)}
        node = Node(Positions(children) if part.isdecimal() and part.isascii() else children, mark)
    return node


def _placed(node: Node, mark: Mark) -> Node:
    if isinstance(node.value, dict):
        return Node({k: _placed(v, mark) for k, v in node.value.items()}, mark, mark)
    if isinstance(node.value, list):
        return Node([_placed(v, mark) for v in node.value], mark, mark)
    return Node(node.value, mark, mark)
