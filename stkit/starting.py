"""Starting quickly: what a program makes while it imports and builds is there to stay. Imports nothing heavy."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting() -> Iterator[None]:
    """No search for garbage inside. Importing torch makes some million objects, which would be gone through again and
    again: a fifth of the time until the first training step.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
