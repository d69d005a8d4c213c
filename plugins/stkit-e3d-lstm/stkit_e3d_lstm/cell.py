"""Eidetic 3D LSTM: A Model for Video Prediction and Beyond.

Yunbo Wang, Lu Jiang, Ming-Hsuan Yang, Li-Jia Li, Mingsheng Long, Li Fei-Fei, ICLR 2019.
Reference code: https://github.com/google/e3d_lstm, Apache-2.0 (nothing is copied from it).

The default follows the reference code with one fault mended, which its authors acknowledged: it hands on the memory M
that came in instead of the one it computed, so that M is zero for ever and its kernels learn nothing. The rest of the
code's differences from the paper is kept, and each is an option: what the forget gate of M multiplies, the output gate
that is squashed twice, and norms of the convolutions' responses.

Axes: ``B`` batch, ``C`` channels, ``D`` depth, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from stkit.api import CarryPort
from stkit.cells import (
    Cell,
    CellSite,
    GateBlock,
    NormFactory,
    Source,
    StepOut,
    Tensors,
    Transition,
    TransitionSite,
    gated,
    observe,
)
from stkit_e3d_lstm.config import E3DLSTMConfig, RecallConfig
from stkit_e3d_lstm.recall import Recall


class E3DLSTM(Cell):
    """An LSTM on 3-D fields whose memory looks back at past memories. ``*`` is a 3-D convolution::

        r  = sigmoid(Wxr * X + Whr * H' + br)
        i  = sigmoid(Wxi * X + Whi * H' + bi)        i'  = sigmoid(W'xi * X + Wmi * M' + b'i)
        g  = tanh(Wxg * X + Whg * H' + bg)           g'  = tanh(W'xg * X + Wmg * M' + b'g)
                                                     f'  = sigmoid(W'xf * X + Wmf * M' + b'f)
        C  = i . g + norm(C' + RECALL(r, C_{t-tau} .. C_{t-1}))
        M  = i' . g' + f' . tanh(Wmm * M')           plain: i' . g' + f' . M'
        o  = Wxo * X + Who * H' + Wco * C + Wmo * M + bo
        H  = sigmoid(tanh(o)) . tanh(W1x1 * [C, M])  plain: sigmoid(o) . tanh(W1x1 * [C, M])

    ``M'`` is the memory of the layer below at this step; at the bottom layer, that of the top layer at the last step.
    ``norm`` acts on the response of ``Wx*``, ``Wh*`` and ``Wm*`` (not on ``Wco``, ``Wmo``), each over all its gates.
    ``aux`` holds ``hidden``, which is ``H``, for losses that read it.

    Args:
        in_channels: channels of ``X``; 0: there is no input.
        width: channels of ``H``, ``C`` and ``M``.
        kernel: of the convolutions: slices, height and width in cells.
        depth: slices of all tensors.
        bias: offsets: ``none``, one for each ``gate``, or one for each ``source`` and gate.
        forget_bias: added to ``f'`` before the sigmoid.
        norm: makes the norm of a source's response; None: no norm.
        update_memory: hand on ``M``; False: hand on ``M'``, as the released code does.
        memory_transition: ``tanh_conv`` or ``plain``.
        output_gate: ``double`` or ``sigmoid``.
        transition: what keeps ``C'``; None: RECALL over 5 memories, without a norm.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        kernel: tuple[int, int, int] = (2, 5, 5),
        depth: int = 2,
        bias: Literal["none", "gate", "source"] = "source",
        forget_bias: float = 1.0,
        norm: NormFactory | None = None,
        update_memory: bool = True,
        memory_transition: Literal["tanh_conv", "plain"] = "tanh_conv",
        output_gate: Literal["double", "sigmoid"] = "double",
        transition: Transition | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = width
        self.input_depth = self.output_depth = depth
        self.forget_bias = forget_bias
        self.update_memory = update_memory
        self.plain_memory = memory_transition == "plain"
        self.plain_output = output_gate == "sigmoid"
        self.transition = Recall(width, depth=depth) if transition is None else transition
        self.carry_spec = {"m": CarryPort(reads=width, writes=width, depth=depth), **self.transition.carry_spec}
        r = "r" if self.transition.needs_gate else ""
        self.gates = GateBlock(
            width,
            {
                "x": Source.of(in_channels, f"i g {r} o i' g' f'"),
                "h": Source.of(width, f"i g {r} o"),
                "m": Source.of(width, "i' f' g'" if self.plain_memory else "i' f' g' m'"),
            },
            kernel=kernel,
            bias=bias,
            norm=norm,
            device=device,
            dtype=dtype,
        )
        own: Literal["none", "source"] = "source" if bias == "source" else "none"
        self.output = GateBlock(
            width,
            {"c": Source.of(width, "o"), "m": Source.of(width, "o")},
            kernel=kernel,
            bias=own,
            device=device,
            dtype=dtype,
        )
        self.fusion = GateBlock(
            width, {"memory": Source.of(2 * width, "h")}, kernel=(1, 1, 1), bias=own, device=device, dtype=dtype
        )

    @classmethod
    def from_config(cls, config: E3DLSTMConfig, site: CellSite) -> E3DLSTM:
        """As a recipe says it; without a transition, RECALL as its own configuration has it."""
        if site.transition is None:
            site = site._replace(transition=_recall)
        return cls(
            site.in_channels,
            site.width,
            **config.model_dump(exclude={"name", "norm"}),
            norm=site.norm_factory(config.norm, depth=config.depth),
            transition=site.build_transition(Recall(site.width), depth=config.depth),
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """``H`` and ``C``: zeros ``B C D H W``. ``M`` is carried, not kept."""
        size = (batch, self.out_channels, self.input_depth, height, width)
        return {
            "h": torch.zeros(size, device=device, dtype=dtype),
            "c": torch.zeros(size, device=device, dtype=dtype),
            **self.transition.zeros(batch, height, width, device, dtype),
        }

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """The equations above. ``x``: ``B C D H W``, or None where there is no input.

        Raises:
            ValueError: if ``x`` has no depth, or another one.
        """
        if x is not None and (x.ndim != 5 or x.shape[2] != self.input_depth):
            raise ValueError(
                f"e3d_lstm reads B C {self.input_depth} H W, received {tuple(x.shape)}: the bottom layer of its stack "
                f"is a frame_window of depth {self.input_depth}"
            )
        h, c, m = state["h"], state["c"], carry["m"]
        a = self.gates(x=x, h=h, m=m)

        c, kept, carry = self.transition.update(a.get("r"), c, x, state, carry, i=a["i"], g=a["g"])

        observe.forget(self, "M", a["f'"], self.forget_bias)
        past = m if self.plain_memory else a["m'"]
        new_m = gated.memory(
            a["f'"], past, a["i'"], a["g'"], forget_bias=self.forget_bias, squashed=not self.plain_memory
        )

        o, fused = self.output(c=c, m=new_m)["o"], self.fusion(memory=(c, new_m))["h"]
        h = gated.output(a["o"], fused, more=o, squash="sigmoid" if self.plain_output else "double")

        state = {"h": h, "c": c, **self.transition.remember(c, kept)}
        return StepOut(h, state, {**carry, "m": new_m if self.update_memory else m}, {"hidden": h})


def _recall(site: TransitionSite) -> Recall:
    return Recall.from_config(RecallConfig(name="recall"), site)
