"""Configurations of PredRNN++'s cells. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stkit.api import CarryPort, CellConfig, Component, ComponentConfig

NormChoice = Annotated[ComponentConfig, Component("modules", slot="norm")]


class CausalLSTMConfig(CellConfig):
    """The Causal LSTM. The defaults are the released cell without its norm; the paper's equations are options."""

    slots: ClassVar[tuple[str, ...]] = ("transition",)
    places: ClassVar[tuple[str, ...]] = ("h", "c")

    kernel: int = Field(5, ge=1)
    """Side in cells of the convolutions."""
    bias: bool | Literal["source"] = "source"
    """Add an offset to each gate; ``source``: to each gate's convolution of each source, as released."""
    forget_bias: float = 1.0
    """Added to both forget gates before the sigmoid. A transition that the recipe names brings its own for ``C``."""
    norm: NormChoice | None = None
    """Norm of each source's response before they are summed; null: none. The released training has one."""
    gates_read: Literal["c", "m", "nothing"] = "c"
    """Which memory the gates of C see beside X and H: C as in the paper, nothing as released before November 2018, or M
    as in OpenSTL before version 1.0."""
    output_gate_reads_hidden: bool = True
    """The output gate sees the hidden state of the step before, too. The paper's does not."""
    spatial_input_reads_memory: bool = False
    """The candidate g' of M sees the arriving M, as in the paper."""
    memory_kernel: int | None = Field(None, ge=1)
    """Side in cells of W3 in ``f' . tanh(W3 * M')``: 1 in the paper; null: W3 is part of the gates' convolution of M',
    as released."""
    initial_range: float | None = Field(None, gt=0)
    """Kernels larger than 1x1 start uniform within plus and minus this, and biases at 0 (released: 0.001); null: within
    ``1/sqrt(fan_in)``."""

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        """The memory M rises from layer to layer and returns. It may arrive with another width."""
        return {"m": CarryPort(reads=None, writes=width)}

    def problems(self, *, in_channels: int, width: int, carry_in: Mapping[str, int]) -> Iterable[str]:
        """Nothing can be missing but M itself."""
        if "m" not in carry_in:
            yield "the Causal LSTM reads the register 'm', which arrives from nowhere"


class GHUConfig(CellConfig):
    """The Gradient Highway Unit, a node of its own."""

    places: ClassVar[tuple[str, ...]] = ("z",)

    kernel: int = Field(5, ge=1)
    """Side in cells of the convolutions."""
    bias: bool | Literal["source"] = "source"
    """Add an offset to each gate; ``source``: to each gate's convolution of each source, as released."""
    norm: NormChoice | None = None
    """Norm of each source's response before they are summed; null: none. The released training has one."""
    initial_range: float | None = Field(None, gt=0)
    """Kernels start uniform within plus and minus this, and biases at 0 (released: 0.001); null: within
    ``1/sqrt(fan_in)``."""
