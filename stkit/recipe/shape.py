"""The first stage of checking: the shape of the recipe, each error told where it was written. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from stkit.errors import nearest, suggest
from stkit.recipe.fields import known_keys, known_names
from stkit.recipe.model import Recipe
from stkit.recipe.problem import Problem, dotted, refuse
from stkit.recipe.sections.model import ModelConfig
from stkit.recipe.tree import Mark, Node, Path, descend, plain

_MISSING = "is missing"
_PLAINER = {
    "should be a valid ": "should be a ",
    "a integer": "a whole number",
    "a string": "text",
    "a tuple": "a list",
    "a boolean": "true or false",
    "a dictionary": "a mapping",
    "Tuple should": "should",
    "List should": "should",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}
"""Pydantic's words for a reader who writes no Python."""
_ABSENT = ("missing", "component_unnamed", "union_tag_not_found")
"""Errors of what is not there; an overlay has them all over, and one line about it is enough."""
_NETWORK = {("model", "cell"), ("model", "layers")}
"""What every recipe with an architecture has: without them something says how to change a model and not which."""
_OVERLAY_NOTE = "{missing} missing; if this is an overlay, put it on a recipe, as in `stkit recipe predrnn+{name}`"


def check_shape(tree: Node, name: str, before: Iterable[Problem] = ()) -> Recipe:
    """Validate a composed tree.

    Args:
        tree: all layers and overrides.
        name: the recipe's name, for messages.
        before: problems found while composing; told together with these.

    Raises:
        RecipeError: with every problem found.
    """
    problems = list(before)
    try:
        recipe = Recipe.model_validate(plain(tree))
    except ValidationError as error:
        problems += _explain_all(error.errors(include_url=False), tree, name, {p.path for p in problems})
        refuse(problems)
        raise AssertionError("a validation error without errors") from error
    refuse(problems)
    return recipe


def check_model(tree: Node) -> ModelConfig:
    """Validate the ``model`` section alone, for a model that is built without data and training.

    Raises:
        RecipeError: with every problem found.
    """
    try:
        return ModelConfig.model_validate(plain(tree)["model"])
    except ValidationError as error:
        errors = [{**wrong, "loc": ("model", *wrong["loc"])} for wrong in error.errors(include_url=False)]
        refuse(_explain_all(errors, tree, "model", set()))
        raise AssertionError("a validation error without errors") from error


def locate(tree: Node, path: Path, *, key: bool = False) -> Mark:
    """Where the value (or the key) at a path was written; of its nearest ancestor if it was not."""
    node, reached = descend(tree, path)
    if path and not reached:
        return node.mark._replace(line=-1)
    return node.key if node.key is not None and (key or reached != path) else node.mark


def _explain_all(errors: Iterable[Any], tree: Node, name: str, told: set[Path]) -> list[Problem]:
    grouped: dict[Path, list[Any]] = {}
    for error in errors:
        path = _path(error, tree)
        # what an unknown architecture would have brought is missing only because the architecture is
        follows = error["type"] == "missing" and any(known[:1] == path[:1] for known in told)
        if not follows and path not in told:
            grouped.setdefault(path, []).append(error)
    absent = {path: group for path, group in grouped.items() if group[0]["type"] in _ABSENT}
    missing = [str(path[0]) for path in absent if len(path) == 1]
    notes: list[Problem] = []
    if not missing and absent.keys() >= _NETWORK:
        missing = [dotted(path) for path in absent]
    if missing and len(absent) > 1:
        *some, last = missing
        said = f"{', '.join(some)} and {last} are" if some else f"{last} is"
        notes.append(Problem(_OVERLAY_NOTE.format(missing=said, name=name), (), tree.mark._replace(line=-1)))
        grouped = {path: group for path, group in grouped.items() if path not in absent}
    return notes + [_explain(path, group, tree) for path, group in grouped.items()]


def _path(error: Any, tree: Node) -> Path:
    """Keys to what an error is about. Pydantic's location also names the alternatives it tried: those are no keys."""
    location: Path = error["loc"]
    if error["type"] == "missing":
        return (*descend(tree, location[:-1])[1], location[-1])
    node, path = descend(tree, location)
    inside = error["type"] == "union_tag_invalid" and isinstance(node.value, dict) and "name" in node.value
    return (*path, "name") if inside else path


def _explain(path: Path, errors: list[Any], tree: Node) -> Problem:
    error = errors[0]
    kind, context, mark = error["type"], error.get("ctx", {}), locate(tree, path)
    if kind == "extra_forbidden":
        known = known_keys(Recipe, path[:-1], plain(tree))
        said = descend(tree, path[:-1])[0].value
        free = [key for key in known if key not in said]
        hint = suggest(str(path[-1]), free if nearest(str(path[-1]), free) else known)
        message = f"there is no such key; {hint}" if hint else "there is no such key"
        return Problem(message, path, locate(tree, path, key=True))
    if kind == "missing":
        return Problem(_MISSING, path, mark)
    if kind == "unknown_component":
        return Problem(error["msg"], path, mark)
    if kind == "component_unnamed":
        return Problem(error["msg"], (*path, "name"), mark)
    if kind == "union_tag_not_found":
        return Problem(f"names nothing; known: {', '.join(known_names(Recipe, path))}", (*path, "name"), mark)
    if kind in ("literal_error", "union_tag_invalid"):
        known = _quoted(context["expected" if kind == "literal_error" else "expected_tags"])
        received = context.get("tag", error["input"])
        return Problem(_choice(received, known), path, mark)
    messages = dict.fromkeys(_sentence(e) for e in errors)
    text = " or ".join(m if place == 0 else m.removeprefix("should be ") for place, m in enumerate(messages))
    return Problem(f"{text}; received {_received(error['input'])}", path, mark)


def _choice(received: Any, known: list[str]) -> str:
    near = nearest(str(received), known)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"should be {' or '.join(map(repr, known))}; received {_received(received)}{hint}"


def _quoted(expected: str) -> list[str]:
    """The words between quotes in pydantic's ``'a', 'b' or 'c'``."""
    return expected.split("'")[1::2]


def _sentence(error: Any) -> str:
    text = str(error["msg"])
    for prefix in ("Input ", "Value error, ", "Assertion failed, "):
        text = text.removeprefix(prefix)
    for said, better in _PLAINER.items():
        text = text.replace(said, better)
    text = text.partition(", unable to parse")[0].partition(" after validation, not")[0]
    return text[:1].lower() + text[1:]


def _received(value: Any) -> str:
    if isinstance(value, BaseModel | Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = "null" if value is None else repr(value)
    if isinstance(value, bool):
        text = str(value).lower()
    return text if len(text) <= 60 else f"{text[:57]}..."
