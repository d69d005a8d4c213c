"""Configuration of the built-in scores. Imports no torch."""

from __future__ import annotations

from stkit.plugin.config import ComponentConfig


class MetricConfig(ComponentConfig):
    """A score without options: its convention is fixed, and its name tells it."""
