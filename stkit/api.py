"""Everything a plugin's manifest and configuration may import. Imports no torch."""

from stkit.plugin.config import (
    AttentionConfig,
    CarryPort,
    CellConfig,
    ComponentConfig,
    Config,
    DatasetConfig,
    HeadConfig,
    MetricConfig,
    ModuleConfig,
    NonStationaryConfig,
)
from stkit.plugin.hookspecs import hookimpl
from stkit.plugin.specs import (
    CallbackSpec,
    CellSpec,
    CheckSpec,
    CommandSpec,
    DatasetSpec,
    ExporterSpec,
    LossSpec,
    MetricSpec,
    ModuleSpec,
    Paper,
    RecipeSpec,
    Slot,
    StackSpec,
)
from stkit.recipe.component import Component

__all__ = [
    "AttentionConfig",
    "CallbackSpec",
    "CarryPort",
    "CellConfig",
    "CellSpec",
    "CheckSpec",
    "CommandSpec",
    "Component",
    "ComponentConfig",
    "Config",
    "DatasetConfig",
    "DatasetSpec",
    "ExporterSpec",
    "HeadConfig",
    "LossSpec",
    "MetricConfig",
    "MetricSpec",
    "ModuleConfig",
    "ModuleSpec",
    "NonStationaryConfig",
    "Paper",
    "RecipeSpec",
    "Slot",
    "StackSpec",
    "hookimpl",
]
