"""Weights of the reference implementations, read and run as their sources run them. Importing this loads no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stkit.interop.imported import Imported as Imported
    from stkit.interop.imported import read as read
    from stkit.interop.run import import_weights as import_weights

__all__ = ["Imported", "import_weights", "read"]

_HOME = {"Imported": "imported", "read": "imported", "import_weights": "run"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"stkit.interop.{_HOME[name]}"), name)
    raise AttributeError(f"module 'stkit.interop' has no attribute {name!r}")
