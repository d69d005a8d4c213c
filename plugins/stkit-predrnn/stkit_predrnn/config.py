"""Configurations of the spatiotemporal LSTM and of the decoupling loss. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stkit.api import CarryPort, CellConfig, Component, ComponentConfig


class STLSTMConfig(CellConfig):
    """Spatiotemporal LSTM (Wang et al. 2017)."""

    slots: ClassVar[tuple[str, ...]] = ("transition",)
    places: ClassVar[tuple[str, ...]] = ("h", "c")

    kernel: int = Field(5, ge=1)
    """Side of the kernels, in cells."""
    bias: bool | Literal["source"] = False
    """Add an offset to each gate; ``source``: to each gate's convolution of each source, and to the 1x1 convolution."""
    forget_bias: float = 1.0
    """Added to both forget gates before the sigmoid. A transition that the recipe names brings its own for ``C``."""
    norm: Annotated[ComponentConfig, Component("modules", slot="norm")] | None = None
    """Normalise the response of each convolution before the sum."""
    shared_input_gates: bool = False
    """One convolution of the input serves both memories, as in the released code of MIM."""
    output_gate_reads: Literal["updated", "arriving"] = "updated"
    """The output gate sees the ``C`` and ``M`` of this step, or the arriving ``M`` as in the released code of MIM."""

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        """``M = f' . M + i' . g'`` is elementwise: the memory ``m`` comes in and goes out with the layer's width."""
        return {"m": CarryPort(reads=width, writes=width)}


class DecouplingConfig(ComponentConfig):
    """Mean squared error plus the decoupling of the memories (Wang et al. 2021)."""

    beta: float = Field(0.1, ge=0)
    """Weight of the decoupling; the authors take 0.1 for Moving MNIST and BAIR and 0.01 for KTH."""
