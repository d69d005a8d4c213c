"""stkit: recurrent spatiotemporal forecasting."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stkit.run.load import load as load
    from stkit.stacks.build import build as build

    __version__: str

__all__ = ["__version__", "build", "load"]

_LAZY = {"build": "stkit.stacks.build", "load": "stkit.run.load"}


def __getattr__(name: str) -> Any:
    # Lazy, because both need torch and `stkit --help` must not.
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("stkit-torch")
    raise AttributeError(f"module 'stkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
