"""What a recipe can say about the cell. Imports no torch."""

from __future__ import annotations

from pydantic import Field
from stkit.api import CellConfig


class ConvGruConfig(CellConfig):
    """Convolutional gated recurrent unit (Ballas et al. 2016)."""

    kernel: int = Field(3, ge=1)
    """Side of the kernels, in grid cells."""
    bias: bool = True
    """Add an offset to each gate and to the candidate."""
