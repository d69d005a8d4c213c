"""What the docstrings under the fields of configurations say: read from their source when it is asked for.

Pydantic can do this as well, but then for each class when it is made, which is a good part of a command's start.
"""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel


class Written(NamedTuple):
    """Where a class was written."""

    file: str
    line: int

    @classmethod
    def of(cls, module: str, frame: Any) -> Written | None:
        """Where the class statement of that module is that runs in ``frame`` or in what called it."""
        while frame is not None and frame.f_globals.get("__name__") != module:
            frame = frame.f_back
        return None if frame is None else cls(frame.f_code.co_filename, frame.f_lineno)


def field_docs(config: type[BaseModel]) -> dict[str, str]:
    """The descriptions of a configuration's fields, by name; a field that has none is left out.

    That of ``Field(description=...)`` goes before the docstring under the field. A class that annotates a field anew
    describes it anew.
    """
    found: dict[str, str | None] = {}
    for one in reversed(config.__mro__):
        written: Written | None = one.__dict__.get("__written__")
        if written is not None:
            found |= _of_class(written, one.__name__)
    fields = config.model_fields
    said = {name: field.description or found.get(name) for name, field in fields.items()}
    return {name: doc for name, doc in said.items() if doc}


def _of_class(written: Written, name: str) -> dict[str, str | None]:
    """The fields that a class annotates itself; None: without a docstring."""
    for node in _classes(written.file):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        if node.name == name and first <= written.line <= (node.end_lineno or first):
            return dict(_documented(node))
    return {}


@cache
def _classes(file: str) -> list[ast.ClassDef]:
    """Inner ones first, so that one of the same name inside another is found before that."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:  # it has changed since it was imported
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)][::-1]


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, str | None]]:
    for place, statement in enumerate(node.body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match node.body[place + 1 : place + 2]:
                case [ast.Expr(value=ast.Constant(value=str(doc)))]:
                    yield statement.target.id, inspect.cleandoc(doc)
                case _:
                    yield statement.target.id, None
