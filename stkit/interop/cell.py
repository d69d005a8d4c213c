"""The ConvLSTM of OpenSTL 0.3, whose weights are the published ones.

Reference code: https://github.com/chengtan9907/OpenSTL, Apache-2.0 (nothing is copied from it). Its version 0.3
computes ``H = o . g``, so that the memory C, and the gates i and f with it, have no effect on any output; they are left
out here. It exists to reproduce imported weights. The cell ``conv_lstm`` is Shi et al. 2015.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import torch
from torch import Tensor, sigmoid, tanh

from stkit.cells.base import Cell, CellSite, NormFactory, StepOut, Tensors
from stkit.cells.gates import GateBlock, Source
from stkit.interop.config import OpenSTL03ConvLSTMConfig


class OpenSTL03ConvLSTM(Cell):
    """``*`` is a convolution, ``H'`` the hidden state of the step before::

        g = tanh(Wxg * X + Whg * H')
        o = sigmoid(Wxo * X + Who * H')
        H = o . g

    With a norm, whose moments are taken over all four gates of a source, the responses of i and f are computed for the
    moments alone.

    Args:
        in_channels: channels of ``X``; 0: there is no input.
        width: channels of ``H``.
        kernel: side of the kernels, in cells.
        norm: makes the norm of a convolution's response; None: no norm.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        kernel: int = 5,
        norm: NormFactory | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = width
        self.carry_spec = {}
        gates = "g o" if norm is None else "i f g o"
        self.gates = GateBlock(
            width,
            {"x": Source.of(in_channels, gates), "h": Source.of(width, gates)},
            kernel=kernel,
            norm=norm,
            device=device,
            dtype=dtype,
        )

    @classmethod
    def from_config(cls, config: OpenSTL03ConvLSTMConfig, site: CellSite) -> OpenSTL03ConvLSTM:
        """As a recipe says it."""
        return cls(
            site.in_channels,
            site.width,
            kernel=config.kernel,
            norm=site.norm_factory(config.norm),
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """``H``: zeros."""
        return {"h": torch.zeros(batch, self.out_channels, height, width, device=device, dtype=dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """The equations above. ``x``: ``B C H W``, or None where there is no input."""
        a = self.gates(x=x, h=state["h"])
        h = sigmoid(a["o"]) * tanh(a["g"])
        return StepOut(h, {"h": h}, carry, {})
