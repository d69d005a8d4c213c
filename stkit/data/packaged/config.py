"""Configurations of the packaged fields. Imports no torch."""

from __future__ import annotations

from stkit.plugin.config import ComponentConfig


class PackagedFieldConfig(ComponentConfig):
    """A packaged field has no options."""
