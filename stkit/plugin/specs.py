"""What a plugin says about each component: frozen data with import strings, so that a manifest imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Slot = Literal["transition", "attention", "nonstationary", "encoder", "decoder", "norm", "head"]


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a component comes from, as ``stkit info`` prints it."""

    title: str
    authors: str
    year: int
    link: str = ""
    """arXiv id, DOI or address."""
    reference_code: str = ""
    """Where the authors' code is, and its licence."""
    parity: str = ""
    """Record of what was held against other implementations, as ``"package:path/inside"``: see
    :mod:`stkit.plugin.parity`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What every spec says."""

    name: str
    summary: str = ""
    plugin: str = field(default="", compare=False)
    """Filled in by the plugin manager: the entry-point name of the plugin that yielded this spec."""
    distribution: str = field(default="", compare=False)
    """Filled in by the plugin manager: ``"name version"`` of the distribution."""

    @property
    def qualified_name(self) -> str:
        """``plugin/name``: always unambiguous."""
        return f"{self.plugin}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Named):
    """One component. ``target`` and ``config`` are ``"module:attribute"`` strings, imported only when used.

    ``config`` names a :class:`stkit.api.Config` subclass in a module that imports no torch.
    """

    target: str
    config: str
    paper: Paper | None = None

    def load_target(self) -> Any:
        """Import and return the component itself."""
        return import_string(self.target)

    def load_config(self) -> Any:
        """Import and return the component's configuration class."""
        return import_string(self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpec(Spec):
    """A node of a stack: a recurrent cell, or a unit between cells such as the gradient highway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSpec(Spec):
    """A part that fits a named slot of a model."""

    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSpec(Named):
    """An architecture said as data: for each variant the ``model:`` block of a recipe, made of component names.

    ``model: {name: predrnn, variant: standard}`` in a recipe starts from ``variants["standard"]``.
    """

    variants: Mapping[str, Mapping[str, Any]]
    default_variant: str = "standard"
    differences: Mapping[str, str] = field(default_factory=dict)
    """For each variant, one sentence: how it differs from the others."""
    paper: Paper | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSpec(Spec):
    """A training loss; it may own parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec(Spec):
    """A verification score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSpec(Spec):
    """A forecast that needs no model, for models to be compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec(Spec):
    """A source of fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSpec(Spec):
    """Something that acts during training when a recipe names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterSpec(Spec):
    """Writes forecasts in a file format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSpec(Named):
    """A recipe or overlay that a plugin ships: a name and the file, as ``"package:path/inside"``."""

    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec(Named):
    """A click command for the ``stkit`` command line, as ``"module:command"``."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec(Named):
    """A check that ``stkit doctor`` runs: ``target`` is a function without arguments that returns a problem or None."""

    target: str


def import_string(target: str) -> Any:
    """Import ``"module:attribute"``.

    Raises:
        ValueError: if the string has no colon.
        ImportError, AttributeError: if the module or the attribute is missing.
    """
    module, _, attribute = target.partition(":")
    if not attribute:
        raise ValueError(f"expected '<module>:<attribute>', got {target!r}")
    return getattr(importlib.import_module(module), attribute)
