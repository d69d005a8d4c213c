"""The matrix unit of this machine, switched off for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stkit.cells.compiled.compiler import NoCompiler, library, part_of
from stkit.cells.tiles import SIDES


@contextmanager
def without_matrix_unit() -> Iterator[None]:
    """Products of float32 are those of vectors."""
    _use(False)
    try:
        yield
    finally:
        _use(True)


def _use(wanted: bool) -> None:
    for side in SIDES:
        found: Any = library(part_of(side, "float"))
        if isinstance(found, NoCompiler):
            raise found
        assert found.functions.use_unit(wanted) == wanted
