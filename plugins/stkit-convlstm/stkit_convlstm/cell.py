"""Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting.

Xingjian Shi, Zhourong Chen, Hao Wang, Dit-Yan Yeung, Wai-kin Wong, Wang-chun Woo, NIPS 2015, arXiv:1506.04214.
The authors published no code for this paper.

Peepholes have one weight for each channel: only so do the parameter counts of the paper's Table 1 come out. The paper
says nothing of a norm and of a forget bias; both are off.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from stkit.cells import (
    Cell,
    CellSite,
    Forget,
    GateBlock,
    NormFactory,
    Source,
    StepOut,
    Tensors,
    Transition,
    build_peephole,
    gated,
)
from stkit_convlstm.config import ConvLSTMConfig


class ConvLSTM(Cell):
    """Equation (3), with ``*`` a convolution and ``.`` the elementwise product::

        i = sigmoid(Wxi * X + Whi * H' + Wci . C' + bi)
        f = sigmoid(Wxf * X + Whf * H' + Wcf . C' + bf)
        C = f . C' + i . tanh(Wxc * X + Whc * H' + bc)
        o = sigmoid(Wxo * X + Who * H' + Wco . C + bo)
        H = o . tanh(C)

    Args:
        in_channels: channels of ``X``; 0: there is no input, as in the paper's forecaster.
        width: channels of ``H`` and ``C``.
        kernel: side of the kernels, in cells.
        peephole: ``channel``, ``pixel`` (ties the weights to ``grid``) or ``none``.
        bias: add ``b``.
        norm: makes the norm of a convolution's response; None: no norm.
        transition: what keeps ``C'``; None: the forget gate ``f``.
        grid: height and width, for peepholes per pixel.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        kernel: int = 5,
        peephole: Literal["channel", "pixel", "none"] = "channel",
        bias: bool = True,
        norm: NormFactory | None = None,
        transition: Transition | None = None,
        grid: tuple[int, int] | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = width
        self.transition = Forget(bias=0.0) if transition is None else transition
        self.carry_spec = self.transition.carry_spec
        gates = "i f g o" if self.transition.needs_gate else "i g o"
        self.gates = GateBlock(
            width,
            {"x": Source.of(in_channels, gates), "h": Source.of(width, gates)},
            kernel=kernel,
            bias="gate" if bias else "none",
            norm=norm,
            device=device,
            dtype=dtype,
        )
        self.w_ci = build_peephole(peephole, width, grid, device=device, dtype=dtype)
        self.w_cf = build_peephole(
            peephole if self.transition.needs_gate else "none", width, grid, device=device, dtype=dtype
        )
        self.w_co = build_peephole(peephole, width, grid, device=device, dtype=dtype)

    @classmethod
    def from_config(cls, config: ConvLSTMConfig, site: CellSite) -> ConvLSTM:
        """As a recipe says it."""
        return cls(
            site.in_channels,
            site.width,
            kernel=config.kernel,
            peephole=config.peephole,
            bias=config.bias,
            norm=site.norm_factory(config.norm),
            transition=site.build_transition(default=Forget(config.forget_bias)),
            grid=site.grid,
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """``H`` and ``C``: zeros, as in the paper."""
        size = (batch, self.out_channels, height, width)
        return {
            "h": torch.zeros(size, device=device, dtype=dtype),
            "c": torch.zeros(size, device=device, dtype=dtype),
            **self.transition.zeros(batch, height, width, device, dtype),
        }

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """Equation (3). ``x``: ``B C H W``, or None where there is no input."""
        h, c = state["h"], state["c"]
        a = self.gates(x=x, h=h)

        i, f = self.w_ci(a["i"], c), self.w_cf(a.get("f"), c)
        c, kept, carry = self.transition.update(f, c, x, state, carry, i=i, g=a["g"])
        h = gated.output(self.w_co(a["o"], c), c)

        return StepOut(h, {"h": h, "c": c, **self.transition.remember(c, kept)}, carry, {})
