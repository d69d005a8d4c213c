"""The core's own components, registered through the same hooks as any plugin's. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from stkit.api import (
    CheckSpec,
    DatasetSpec,
    ExporterSpec,
    LossSpec,
    MetricSpec,
    ModuleSpec,
    RecipeSpec,
    hookimpl,
)


@hookimpl
def stkit_modules() -> Iterator[ModuleSpec]:
    """Heads, norms and transitions that belong to no paper."""
    yield from ()


@hookimpl
def stkit_losses() -> Iterator[LossSpec]:
    """Losses."""
    yield from ()


@hookimpl
def stkit_metrics() -> Iterator[MetricSpec]:
    """Scores, each named with its convention."""
    yield from ()


@hookimpl
def stkit_datasets() -> Iterator[DatasetSpec]:
    """Packaged fields, generators and the user's own files."""
    yield from ()


@hookimpl
def stkit_exporters() -> Iterator[ExporterSpec]:
    """File formats of forecasts."""
    yield from ()


@hookimpl
def stkit_recipes() -> Iterator[RecipeSpec]:
    """The shipped recipes and overlays."""
    from stkit.recipe.shipped_files import shipped_specs

    yield from shipped_specs()


@hookimpl
def stkit_checks() -> Iterator[CheckSpec]:
    """What ``stkit doctor`` looks at besides the installation itself."""
    yield from ()
