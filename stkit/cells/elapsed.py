"""How many steps a stack has taken since its initial state, as a number of Python's.

A cell whose work grows with what there has been so far, such as attention over past memories, can so do what there is
to do and no more, and neither has to ask a tensor, for which a GPU would have to wait, nor to mask what is not there
yet. Numbers do not depend on it: where it is not known, the state says the same in a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_steps: int | None = None


def steps() -> int | None:
    """Steps before the one that is being taken; None where a cell steps by itself, or one compiled step serves all."""
    return _steps


@contextmanager
def after(steps: int | None) -> Iterator[None]:
    """A step that is taken after so many."""
    global _steps
    before, _steps = _steps, steps
    try:
        yield
    finally:
        _steps = before
