"""Causal LSTM: two memories in a cascade.

PredRNN++: Towards A Resolution of the Deep-in-Time Dilemma in Spatiotemporal Predictive Learning. Yunbo Wang, Zhifeng
Gao, Mingsheng Long, Jianmin Wang, Philip S. Yu, 2018. arXiv:1804.06300.
Reference code: https://github.com/Yunbo426/predrnn-pp (TensorFlow 1, no licence file: nothing is copied from it).

The released cell departs from the paper's equations: its output gate sees H, its g' does not see M, W3 is as wide as
the gates' kernels, every source has a convolution, a bias and a norm of its own, and 1 is added to both forget gates.
It is the default; the paper's equations are options.

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
from stkit_predrnnpp.config import CausalLSTMConfig
from stkit_predrnnpp.start import start_within

Bias = Literal["none", "gate", "source"]


class CausalLSTM(Cell):
    """The spatial memory M is updated from the new temporal memory C, so that a step passes more non-linear layers.

    .. code-block:: text

        i, f, g    = s, s, tanh (W1 * [X, H', C'])            H' = H_{t-1}, C' = C_{t-1}
        C          = f . C' + i . g                           or what the transition keeps, + i . g
        i', f', g' = s, s, tanh (W2 * [X, C, M'])             M' = M of the layer below, or of the top layer at t-1
        M          = f' . tanh(W3 * M') + i' . g'
        o          = tanh(W4 * [X, C, M])                     W4 * [X, H', C, M] as released
        H          = o . tanh(W5 * [C, M])

    State ``h`` and ``c``, carried register ``m``; ``aux`` has the increments ``delta_c = i.g`` and ``delta_m = i'.g'``
    where they are read.

    Args:
        in_channels: channels of ``x``; 0: it takes none.
        width: hidden channels.
        memory_in: channels of M as it arrives, which may differ from ``width``.
        kernel: side of the kernels in cells.
        bias: add an offset to each gate; ``source``: to each gate's convolution of each source, and to W3 and W5.
        forget_bias: added to f' before the sigmoid, and to f if ``transition`` is None.
        norm: makes the norm of a source's response; None: no norm.
        gates_read: the memory that i, f and g see: ``c``, ``m`` or ``nothing``.
        output_gate_reads_hidden: whether o sees H'.
        spatial_input_reads_memory: whether g' sees M'.
        memory_kernel: side of W3 in cells; None: W3 is part of the gates' convolution of M'.
        initial_range: kernels above 1x1 start uniform within plus and minus this; None: within ``1/sqrt(fan_in)``.
        transition: what keeps C'; None: the forget gate f.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        memory_in: int,
        *,
        kernel: int = 5,
        bias: bool | Literal["source"] = "source",
        forget_bias: float = 1.0,
        norm: NormFactory | None = None,
        gates_read: Literal["c", "m", "nothing"] = "c",
        output_gate_reads_hidden: bool = True,
        spatial_input_reads_memory: bool = False,
        memory_kernel: int | None = None,
        initial_range: float | None = None,
        transition: Transition | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = width
        self.forget_bias = forget_bias
        self.transition = Forget(forget_bias) if transition is None else transition
        self.gates_read = gates_read
        self.carry_spec = {"m": CarryPort(reads=memory_in, writes=width), **self.transition.carry_spec}

        f = "f" if self.transition.needs_gate else ""
        o = "o" if output_gate_reads_hidden else ""
        g = "g'" if spatial_input_reads_memory else ""
        w3 = "w3" if memory_kernel is None else ""
        read = {"c": width, "m": memory_in, "nothing": 0}[gates_read]

        def block(sources: dict[str, Source], size: int, bias: Bias, norm: NormFactory | None = None) -> GateBlock:
            return GateBlock(width, sources, kernel=size, bias=bias, norm=norm, device=device, dtype=dtype)

        per_source: Bias = "source" if bias == "source" else "none"  # a gate's own offset is in the first of its blocks
        self.arriving = block(
            {
                "x": Source.of(in_channels, f"i {f} g i' f' g' o"),
                "h": Source.of(width, f"i {f} g {o}"),
                "c": Source.of(read, f"i {f} g"),
                "m": Source.of(memory_in, f"i' f' {g} {w3}"),
            },
            kernel,
            per_source if isinstance(bias, str) or not bias else "gate",
            norm,
        )
        self.temporal = block({"c": Source.of(width, "i' f' g' o")}, kernel, per_source, norm)
        self.spatial = block({"m": Source.of(width, "o")}, kernel, per_source, norm)
        self.cascaded = block({"m": Source.of(memory_in, "w3")}, memory_kernel, per_source) if memory_kernel else None
        self.reduced = block({"memories": Source.of(2 * width, "h")}, 1, per_source)
        start_within(initial_range, (self.arriving, self.temporal, self.spatial))

    @classmethod
    def from_config(cls, config: CausalLSTMConfig, site: CellSite) -> CausalLSTM:
        """As a recipe says it."""
        return cls(
            site.in_channels,
            site.width,
            site.carry_in["m"],
            **config.model_dump(exclude={"name", "norm"}),
            norm=site.norm_factory(config.norm),
            transition=site.build_transition(default=Forget(config.forget_bias)),
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for ``h`` and ``c``: ``B C H W``, and what the transition remembers."""
        shape = (batch, self.out_channels, height, width)
        own = {name: torch.zeros(shape, device=device, dtype=dtype) for name in ("h", "c")}
        return {**own, **self.transition.zeros(batch, height, width, device, dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """One time step: ``x`` ``B C_in H W`` or None, ``m`` ``B memory_in H W``; ``y`` is ``B width H W``."""
        h, c, m = state["h"], state["c"], carry["m"]
        read = {"c": c, "m": m, "nothing": None}[self.gates_read]
        before = self.arriving(x=x, h=h, c=read, m=m)

        i, g = before["i"], before["g"]
        c, own, carry = self.transition.update(before.get("f"), c, x, state, carry, i=i, g=g)

        after = self.temporal(c=c)
        w3 = before["w3"] if self.cascaded is None else self.cascaded(m=m)["w3"]
        i_m, f_m, g_m = (_sum(gate, before, after) for gate in ("i'", "f'", "g'"))
        observe.forget(self, "M", f_m, self.forget_bias)
        m = gated.memory(f_m, w3, i_m, g_m, forget_bias=self.forget_bias, squashed=True)

        o = _sum("o", before, after)
        reduced = self.reduced(memories=(c, m))["h"]
        h = gated.output(o, reduced, more=self.spatial(m=m)["o"], squash="tanh")
        aux = self.increments(delta_c=(i, g), delta_m=(i_m, g_m))
        return StepOut(h, {"h": h, "c": c, **self.transition.remember(c, own)}, {**carry, "m": m}, aux)


def _sum(gate: str, *blocks: dict[str, Tensor]) -> Tensor:
    """A gate that is fed by some of the blocks."""
    first, *others = (block[gate] for block in blocks if gate in block)
    for other in others:
        first = first + other
    return first
