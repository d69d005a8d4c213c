"""Configurations of the built-in transitions. Imports no torch."""

from __future__ import annotations

from typing import ClassVar

from stkit.plugin.config import ModuleConfig


class ForgetConfig(ModuleConfig):
    """The forget gate."""

    takes_depth: ClassVar[bool] = True

    bias: float = 1.0
    """Added to the gate before the sigmoid, so that the memory is mostly kept at first."""
