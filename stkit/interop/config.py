"""Configurations of what only imported models need. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stkit.plugin.config import CellConfig, ComponentConfig, Config
from stkit.recipe.component import Component


class OpenSTL03ConvLSTMConfig(CellConfig):
    """The ConvLSTM of OpenSTL 0.3, to run weights that were trained with its fault. Not a cell to train."""

    kernel: int = Field(5, ge=1)
    """Side of the kernels, in cells."""
    norm: Annotated[ComponentConfig, Component("modules", slot="norm")] | None = None
    """Normalise the response of each convolution before the sum."""


class ImportedVariable(Config):
    """One channel of the frames."""

    name: str
    units: str = "1"


class ImportedDataConfig(ComponentConfig):
    """What the frames of an imported model are. There is no data behind it."""

    variables: tuple[ImportedVariable, ...] = Field(min_length=1)
    """One for each channel."""
    height: int = Field(ge=1)
    """Of a frame, in cells."""
    width: int = Field(ge=1)
    """Of a frame, in cells."""
