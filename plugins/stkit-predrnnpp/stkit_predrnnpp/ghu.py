"""Gradient Highway Unit: a short way for gradients through time.

PredRNN++ (Wang et al. 2018), arXiv:1804.06300. Reference code: https://github.com/Yunbo426/predrnn-pp (TensorFlow 1, no
licence file: nothing is copied from it). The equations are the paper's. There the unit is between the first and the
second layer; here it is a node like any other and may stand anywhere.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from stkit.cells import Cell, CellSite, GateBlock, NormFactory, Source, StepOut, Tensors, gated, observe
from stkit_predrnnpp.config import GHUConfig
from stkit_predrnnpp.start import start_within


class GHU(Cell):
    """A switch S between the transformed input and the highway's own past. Carried registers pass by.

    .. code-block:: text

        P = tanh(Wpx * X + Wpz * Z')                          Z' = Z_{t-1}
        S = s(Wsx * X + Wsz * Z')
        Z = S . P + (1 - S) . Z'

    State ``z``, which is also what rises.

    Args:
        in_channels: channels of ``x``; 0: it takes none.
        width: channels of the highway.
        kernel: side of the kernels in cells.
        bias: add an offset to each gate; ``source``: to each gate's convolution of each source.
        norm: makes the norm of a source's response; None: no norm.
        initial_range: kernels start uniform within plus and minus this; None: within ``1/sqrt(fan_in)``.
        device: of the parameters.
        dtype: of the parameters.
    """

    out_key = "z"

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        kernel: int = 5,
        bias: bool | Literal["source"] = "source",
        norm: NormFactory | None = None,
        initial_range: float | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = width
        self.carry_spec = {}
        sources = {"x": Source.of(in_channels, "p s"), "z": Source.of(width, "p s")}
        self.gates = GateBlock(
            width,
            sources,
            kernel=kernel,
            bias=bias if isinstance(bias, str) else "gate" if bias else "none",
            norm=norm,
            device=device,
            dtype=dtype,
        )
        start_within(initial_range, (self.gates,))

    @classmethod
    def from_config(cls, config: GHUConfig, site: CellSite) -> GHU:
        """As a recipe says it."""
        return cls(
            site.in_channels,
            site.width,
            **config.model_dump(exclude={"name", "norm"}),
            norm=site.norm_factory(config.norm),
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for ``z``: ``B C H W``."""
        return {"z": torch.zeros(batch, self.out_channels, height, width, device=device, dtype=dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """One time step: ``x`` ``B C_in H W`` or None; ``y`` is ``B width H W``."""
        z = state["z"]
        gates = self.gates(x=x, z=z)
        if observe.watched():
            observe.gate(self, "Z", 1 - torch.sigmoid(gates["s"]))
        z = gated.highway(gates["s"], gates["p"], z)
        return StepOut(z, {"z": z}, carry, {})
