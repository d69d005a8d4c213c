"""The two recurrent units that MIM-N and MIM-S are made of.

Both read a signal and something that comes back from the step before, keep a memory, and give an output.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells import GateBlock, NormFactory, Source, build_peephole, gated, observe


class Parts(NamedTuple):
    """What the units of one transition have in common."""

    kernel: int
    bias: Literal["none", "gate", "source"]
    forget_bias: float
    norm: NormFactory | None
    device: torch.device | None
    dtype: torch.dtype | None


class Unit(nn.Module):
    """``(signal, returning, memory) -> (output, new memory)``.

    Attributes:
        memory: its name in the equations, ``N`` or ``S``.
    """

    memory: Literal["N", "S"]

    def forward(self, signal: Tensor, returning: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Output and new memory, ``B C H W`` both.

        Args:
            signal: ``B C_in H W``.
            returning: ``B C H W``, what comes back from the step before by a convolution.
            memory: ``B C H W``, of the step before.
        """
        raise NotImplementedError


class ReleasedUnit(Unit):
    """An LSTM with peepholes, as in the released code: ``s`` signal, ``r`` what returns, ``c`` the memory::

        i  = sigmoid(Wsi * s + Wri * r + wi . c')
        f  = sigmoid(Wsf * s + Wrf * r + wf . c' + forget_bias)
        g  = tanh(Wsg * s + Wrg * r)
        c  = f . c' + i . g
        o  = sigmoid(Wso * s + Wro * r + wo . c)
        y  = o . tanh(c)

    Args:
        in_channels: of the signal.
        width: channels of all else.
        parts: kernel, bias, forget bias and norm.
        peephole: ``channel``, ``pixel`` or ``none``.
        grid: height and width, for peepholes per pixel.
        memory: its name in the equations.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        parts: Parts,
        *,
        peephole: Literal["channel", "pixel", "none"],
        grid: tuple[int, int] | None,
        memory: Literal["N", "S"],
    ) -> None:
        super().__init__()
        self.memory = memory
        self.forget_bias = parts.forget_bias
        self.gates = GateBlock(
            width,
            {"signal": Source.of(in_channels, "i f g o"), "returning": Source.of(width, "i f g o")},
            kernel=parts.kernel,
            bias=parts.bias,
            norm=parts.norm,
            device=parts.device,
            dtype=parts.dtype,
        )
        self.peep_i, self.peep_f, self.peep_o = (
            build_peephole(peephole, width, grid, device=parts.device, dtype=parts.dtype) for _ in range(3)
        )

    def forward(self, signal: Tensor, returning: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The equations above."""
        a = self.gates(signal=signal, returning=returning)
        i, f = self.peep_i(a["i"], memory), self.peep_f(a["f"], memory)
        observe.forget(self, self.memory, f, self.forget_bias)
        memory = gated.memory(f, memory, i, a["g"], forget_bias=self.forget_bias)
        return gated.output(self.peep_o(a["o"], memory), memory), memory


class PrintedUnit(Unit):
    """As in the paper, the new memory convolved into the output gate::

        i, f, g = sigmoid, sigmoid, tanh (Ws * s + Wr * r + b)
        c       = f . c' + i . g
        o       = sigmoid(Wso * s + [Wro * r] + Wco * c + bo)
        y       = o . tanh(c)

    In MIM-N what returns is its own memory, ``r = c'``, which the output gate sees in its new state only; in MIM-S it
    is the cell's memory, which the output gate sees, too.

    Args:
        in_channels: of the signal.
        width: channels of all else.
        parts: kernel, bias, forget bias and norm.
        output_reads_returning: whether ``Wro * r`` is there.
        memory: its name in the equations.
    """

    def __init__(
        self, in_channels: int, width: int, parts: Parts, *, output_reads_returning: bool, memory: Literal["N", "S"]
    ) -> None:
        super().__init__()
        self.memory = memory
        self.forget_bias = parts.forget_bias
        o = "o" if output_reads_returning else ""
        self.gates = GateBlock(
            width,
            {"signal": Source.of(in_channels, "i f g o"), "returning": Source.of(width, f"i f g {o}")},
            kernel=parts.kernel,
            bias=parts.bias,
            norm=parts.norm,
            device=parts.device,
            dtype=parts.dtype,
        )
        self.output = GateBlock(
            width,
            {"memory": Source.of(width, "o")},
            kernel=parts.kernel,
            bias="source" if parts.bias == "source" else "none",  # the gate's own offset is in the block above
            norm=parts.norm,
            device=parts.device,
            dtype=parts.dtype,
        )

    def forward(self, signal: Tensor, returning: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The equations above."""
        a = self.gates(signal=signal, returning=returning)
        observe.forget(self, self.memory, a["f"], self.forget_bias)
        memory = gated.memory(a["f"], memory, a["i"], a["g"], forget_bias=self.forget_bias)
        return gated.output(a["o"], memory, more=self.output(memory=memory)["o"]), memory
