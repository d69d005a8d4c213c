"""The fields of a recipe, for messages, ``stkit info`` and the docs. Imports no torch."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stkit.errors import StkitError
from stkit.recipe.component import Component
from stkit.recipe.tree import Path


def known_keys(model: type[BaseModel], path: Path, tree: Any) -> list[str]:
    """The keys that the mapping at ``path`` may have, given what the recipe says so far; empty if unknown."""
    annotation: Any = model
    for part in path:
        tree = _step(tree, part)
        annotation = _annotation_at(annotation, part)
        annotation = _choose(annotation, tree)
        if annotation is None:
            return []
    return list(annotation.model_fields) if _is_model(annotation) else []


def known_names(model: type[BaseModel], path: Path) -> list[str]:
    """The names among which the mapping at ``path`` chooses by its ``name``."""
    annotation: Any = model
    for part in path:
        annotation = _annotation_at(_unwrap(annotation)[0], part)
    named = [choice.model_fields["name"] for choice in submodels(annotation) if "name" in choice.model_fields]
    return [str(name) for field in named for name in get_args(field.annotation)]


def describe(annotation: Any) -> str:
    """A type as a reader of recipes would say it."""
    base, metadata = _unwrap(annotation)
    for marker in metadata:
        if isinstance(marker, Component):
            return f"a {marker.label}"
    origin, arguments = get_origin(base), get_args(base)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(a) for a in arguments))
    if origin is typing.Literal:
        return " or ".join("null" if a is None else str(a) for a in arguments)
    if origin in (tuple, list):
        items = [a for a in arguments if a is not Ellipsis]
        return "a list of " + describe(items[0]) if items else "a list"
    if origin is dict:
        return "a mapping to " + describe(arguments[1])
    if base is None or base is type(None):
        return "null"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if base in names:
        return names[base]
    if _is_model(base):
        literal = base.model_fields.get("name")
        chosen = get_args(literal.annotation) if literal is not None else ()
        return str(chosen[0]) if len(chosen) == 1 else f"a mapping ({base.__name__})"
    return getattr(base, "__name__", str(base))


def describe_field(field: FieldInfo) -> tuple[str, str]:
    """A field's type and default as text; the default of a field that must be given is ``required``."""
    annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    if field.is_required():
        return describe(annotation), "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return describe(annotation), "as below"
    return describe(annotation), _shown(default)


def submodels(annotation: Any) -> Iterator[type[BaseModel]]:
    """The configuration classes inside an annotation; a component's are not, they come from plugins."""
    base, metadata = _unwrap(annotation)
    if any(isinstance(marker, Component) for marker in metadata):
        return
    if _is_model(base):
        yield base
        return
    for argument in get_args(base):
        yield from submodels(argument)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if value == {}:
        return "nothing"
    return str(value)


def _step(tree: Any, part: str | int) -> Any:
    try:
        return tree[part]
    except (KeyError, IndexError, TypeError):
        return None


def _annotation_at(annotation: Any, part: str | int) -> Any:
    if isinstance(part, int):
        arguments = get_args(annotation)
        return arguments[0] if arguments else None
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    field = annotation.model_fields.get(part) if _is_model(annotation) else None
    if field is None:
        return None
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _choose(annotation: Any, tree: Any) -> Any:
    """Which alternative of an annotation the values mean."""
    base, metadata = _unwrap(annotation)
    name = tree.get("name") if isinstance(tree, Mapping) else tree
    for marker in metadata:
        if isinstance(marker, Component):
            try:
                return marker.config(name) if isinstance(name, str) else None
            except StkitError:
                return None
    if get_origin(base) not in (Union, types.UnionType):
        return base
    alternatives = [_choose(a, tree) for a in get_args(base) if a is not type(None)]
    for alternative in alternatives:
        if _is_model(alternative):
            literal = alternative.model_fields.get("name")
            if literal is not None and name in get_args(literal.annotation):
                return alternative
    models = [a for a in alternatives if _is_model(a)]
    return models[0] if len(models) == 1 else next((a for a in alternatives if get_args(a)), None)


def _unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        inner, more = _unwrap(base)
        return inner, (*metadata, *more)
    return annotation, ()


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
