"""PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs.

Yunbo Wang, Mingsheng Long, Jianmin Wang, Zhifeng Gao, Philip S. Yu, NIPS 2017; journal version arXiv:2103.09504.
Reference code: https://github.com/thuml/predrnn-pytorch (no licence file: these lines are written from the equations).

The default follows the reference code, which has no biases and adds 1 to both forget gates before the sigmoid, where
the paper prints biases. A norm, if one is asked for, acts on the response of each convolution before they are summed,
as in the reference code; there its gains belong to each pixel of a square grid, here the recipe chooses.

The released code of MIM (Wang et al. 2019) has another cell by this name, whose two differences are options: shared
input gates, and an output gate that sees the arriving memory.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from stkit.api import CarryPort
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
    gated,
    observe,
)
from stkit_predrnn.config import STLSTMConfig

Bias = Literal["none", "gate", "source"]


class STLSTM(Cell):
    """Spatiotemporal LSTM: the memory ``C`` stays with the layer, the memory ``M`` runs through the layers::

        g  = tanh(Wxg * X + Whg * H' + bg)           g'  = tanh(W'xg * X + Wmg * M' + b'g)
        i  = sigmoid(Wxi * X + Whi * H' + bi)        i'  = sigmoid(W'xi * X + Wmi * M' + b'i)
        f  = sigmoid(Wxf * X + Whf * H' + bf)        f'  = sigmoid(W'xf * X + Wmf * M' + b'f)
        C  = f . C' + i . g                          M   = f' . M' + i' . g'
        o  = sigmoid(Wxo * X + Who * H' + Wco * C + Wmo * M + bo)
        H  = o . tanh(W1x1 * [C, M])

    ``M'`` is the memory of the layer below at this step; at the bottom layer, that of the top layer at the last step.
    ``aux`` holds, where they are read, the increments ``delta_c = i . g`` and ``delta_m = i' . g'``, which PredRNN-V2
    decouples.

    Args:
        in_channels: channels of ``X``; 0: there is no input.
        width: channels of ``H``, ``C`` and ``M``.
        kernel: side of the kernels, in cells.
        bias: add ``b``; ``source``: one for each gate and source, and one to ``W1x1``.
        forget_bias: added to ``f'`` before the sigmoid, and to ``f`` if ``transition`` is None.
        norm: makes the norm of a convolution's response; None: no norm.
        shared_input_gates: ``Wx`` and ``W'x`` are the same.
        output_gate_reads: ``updated``: as above; ``arriving``: ``Wmo * M'`` in place of ``Wco * C + Wmo * M``.
        transition: what keeps ``C'``; None: the forget gate ``f``.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        kernel: int = 5,
        bias: bool | Literal["source"] = False,
        forget_bias: float = 1.0,
        norm: NormFactory | None = None,
        shared_input_gates: bool = False,
        output_gate_reads: Literal["updated", "arriving"] = "updated",
        transition: Transition | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = width
        self.forget_bias = forget_bias
        self.transition = Forget(forget_bias) if transition is None else transition
        self.carry_spec = {"m": CarryPort(reads=width, writes=width), **self.transition.carry_spec}
        self.shared_input_gates = shared_input_gates and in_channels > 0

        def block(sources: dict[str, Source], size: int, bias: Bias, norm: NormFactory | None) -> GateBlock:
            return GateBlock(width, sources, kernel=size, bias=bias, norm=norm, device=device, dtype=dtype)

        per_source: Bias = "source" if bias == "source" else "none"
        f = "f" if self.transition.needs_gate else ""
        self.gates = block(
            {
                "x": Source.of(in_channels, "xi xf xg o" if shared_input_gates else f"i {f} g i' f' g' o"),
                "h": Source.of(width, f"i {f} g o"),
                "m": Source.of(width, "i' f' g'" if output_gate_reads == "updated" else "i' f' g' o"),
            },
            kernel,
            "gate" if bias is True else per_source,
            norm,
        )
        self.output = (
            block({"memory": Source.of(2 * width, "o")}, kernel, per_source, norm)
            if output_gate_reads == "updated"
            else None
        )
        self.fusion = block({"memory": Source.of(2 * width, "h")}, 1, per_source, None)

    @classmethod
    def from_config(cls, config: STLSTMConfig, site: CellSite) -> STLSTM:
        """As a recipe says it."""
        return cls(
            site.in_channels,
            site.width,
            kernel=config.kernel,
            bias=config.bias,
            forget_bias=config.forget_bias,
            norm=site.norm_factory(config.norm),
            shared_input_gates=config.shared_input_gates,
            output_gate_reads=config.output_gate_reads,
            transition=site.build_transition(default=Forget(config.forget_bias)),
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """``H`` and ``C``: zeros. ``M`` is carried, not kept."""
        size = (batch, self.out_channels, height, width)
        return {
            "h": torch.zeros(size, device=device, dtype=dtype),
            "c": torch.zeros(size, device=device, dtype=dtype),
            **self.transition.zeros(batch, height, width, device, dtype),
        }

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """The equations above. ``x``: ``B C H W``, or None where there is no input."""
        h, c, m = state["h"], state["c"], carry["m"]
        a = self.gates(x=x, h=h, m=m)
        if self.shared_input_gates:
            a = _shared(a)

        c, kept, carry = self.transition.update(a.get("f"), c, x, state, carry, i=a["i"], g=a["g"])

        observe.forget(self, "M", a["f'"], self.forget_bias)
        m = gated.memory(a["f'"], m, a["i'"], a["g'"], forget_bias=self.forget_bias)

        more = None if self.output is None else self.output(memory=(c, m))["o"]
        h = gated.output(a["o"], self.fusion(memory=(c, m))["h"], more=more)

        state = {"h": h, "c": c, **self.transition.remember(c, kept)}
        aux = self.increments(delta_c=(a["i"], a["g"]), delta_m=(a["i'"], a["g'"]))
        return StepOut(h, state, {**carry, "m": m}, aux)


def _shared(a: dict[str, Tensor]) -> dict[str, Tensor]:
    """The input's part of ``i``, ``f`` and ``g`` added to the gates of both memories."""
    parts = {gate: a["x" + gate.removesuffix("'")] for gate in ("i", "f", "g", "i'", "f'", "g'") if gate in a}
    return {**a, **{gate: a[gate] + part for gate, part in parts.items()}}
