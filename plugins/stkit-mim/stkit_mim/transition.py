"""Memory In Memory, the transition.

Memory In Memory: A Predictive Neural Network for Learning Higher-Order Non-Stationarity from Spatiotemporal Dynamics.
Yunbo Wang, Jianjin Zhang, Hongyu Zhu, Mingsheng Long, Jianmin Wang, Philip S. Yu, CVPR 2019, arXiv:1811.07490.
Reference code: https://github.com/Yunbo426/MIM (TensorFlow 1, no licence file: nothing is copied from it).

The paper puts MIM in place of the forget gate; here it is a module for the slot ``transition``, so that any cell with
that slot can have it. Deliberate deviations from the released code: peepholes for each channel unless ``pixel`` is
asked for, and no memory on the module; it is all in the cell's state, and gradients pass through all of it.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stkit.api import CarryPort
from stkit.cells import NormFactory, NormSite, Tensors, Transition, TransitionSite, elapsed, observe
from stkit_mim.config import MIMConfig
from stkit_mim.units import Parts, PrintedUnit, ReleasedUnit, Unit


class MIM(Transition):
    """What is kept of the memory C is made by two recurrent units, one after the other::

        D = MIM-N(x, N')        x: the change of the layer's input since the last step, or D of the layer below
        T = MIM-S(D, C', S')    C = T + i . g  in the cell

    MIM-N (non-stationary) has the memory N, MIM-S (stationary) the memory S. At the first step nothing has changed yet:
    D is zero and N stays as it is, while MIM-S already runs.

    Remembers ``N``, ``S``, the flag ``seen`` (0 before the first step, 1 after it; ``B 1 1 1``), with the released
    recurrence ``D``, and the input ``x`` where its change is read. Hands D on to the next layer as the register ``D``.

    Attention can stand at D (place ``d``) and at T (place ``t``); what it gives takes their place everywhere.

    Args:
        in_channels: channels of the cell's input.
        width: channels of the cell's memory.
        below: channels of D as it arrives from the layer below; None: the change of the input is read.
        kernel: side of the kernels, in cells.
        bias: add an offset to each gate; ``source``: to each gate's convolution of each source.
        forget_bias: added to both forget gates before the sigmoid.
        norm: makes the norm of a convolution's response; None: no norm.
        recurrence: ``released`` or ``paper``, see :mod:`stkit_mim.units`.
        peephole: of the released recurrence: ``channel``, ``pixel`` or ``none``.
        grid: height and width, for peepholes per pixel.
        initial_range: kernels of MIM-N start uniform within plus and minus this; None: within ``1/sqrt(fan_in)``.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: if there is nothing to read.
    """

    needs_gate = False
    places = MIMConfig.places

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        below: int | None = None,
        kernel: int = 5,
        bias: bool | Literal["source"] = "source",
        forget_bias: float = 1.0,
        norm: NormFactory | None = None,
        recurrence: Literal["released", "paper"] = "released",
        peephole: Literal["channel", "pixel", "none"] = "channel",
        grid: tuple[int, int] | None = None,
        initial_range: float | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if below is None and not in_channels:
            raise ValueError("the transition mim reads the change of the layer's input, and the layer has no input")
        self.in_channels = in_channels
        self.width = width
        self.below = below
        self.carry_spec = {"D": CarryPort(reads=below or 0, writes=width)}
        self.returns_d = recurrence == "released"
        per_gate: Literal["gate", "none"] = "gate" if bias else "none"
        parts = Parts(kernel, "source" if bias == "source" else per_gate, forget_bias, norm, device, dtype)
        read = in_channels if below is None else below
        self.mim_n: Unit
        self.mim_s: Unit
        if recurrence == "released":
            self.mim_n = ReleasedUnit(read, width, parts, peephole=peephole, grid=grid, memory="N")
            self.mim_s = ReleasedUnit(width, width, parts, peephole=peephole, grid=grid, memory="S")
        else:
            self.mim_n = PrintedUnit(read, width, parts, output_reads_returning=False, memory="N")
            self.mim_s = PrintedUnit(width, width, parts, output_reads_returning=True, memory="S")
        if initial_range is not None:
            _start_within(initial_range, self.mim_n)

    @classmethod
    def from_config(cls, config: MIMConfig, site: TransitionSite) -> MIM:
        """As a recipe says it.

        Raises:
            ValueError: if the memory has a depth, or the peepholes need a grid that is not known.
        """
        if site.depth:
            raise ValueError("the transition mim keeps memories of B C H W, the cell's memory has a depth")

        def norm(channels: int) -> nn.Module:
            made: nn.Module = site.norms(config.norm, NormSite(channels, site.grid, site.device, site.dtype))
            return made

        return cls(
            site.in_channels,
            site.width,
            below=site.carry_in.get("D") if config.source == "below" else None,
            kernel=config.kernel,
            bias=config.bias,
            forget_bias=config.forget_bias,
            norm=None if config.norm is None else norm,
            recurrence=config.recurrence,
            peephole=config.peephole or "channel",
            grid=site.grid,
            initial_range=config.initial_range,
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for what it remembers; ``seen`` says that nothing was seen yet."""
        channels = {"N": self.width, "S": self.width}
        if self.returns_d:
            channels["D"] = self.width
        if self.below is None:
            channels["x"] = self.in_channels
        zeros = {name: torch.zeros(batch, n, height, width, device=device, dtype=dtype) for name, n in channels.items()}
        return {**zeros, "seen": torch.zeros(batch, 1, 1, 1, device=device, dtype=dtype)}

    def forward(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        """``T`` as ``c``, what is remembered, and the carry with this layer's ``D``.

        Raises:
            ValueError: if the change of the input is read and there is no input.
        """
        new = {"seen": torch.ones_like(state["seen"])}
        if self.below is not None:
            change = carry["D"]
        elif x is not None:
            change = x - state["x"]
            new["x"] = x
        else:
            raise ValueError("the transition mim reads the change of the layer's input, and there is no input")

        d, n = self.mim_n(change, state["D"] if self.returns_d else state["N"], state["N"])
        d, remembered = self.attended("d", d, state)
        if not elapsed.steps():  # the first step, or it is not known which: the state says whether anything was seen
            flag = state["seen"]  # products cost a fraction of torch.where, which takes a broadcast cell by cell
            d, n = d * flag.to(d.dtype), torch.lerp(n, state["N"], 1 - flag.to(n.dtype))
            remembered = {name: torch.where(flag > 0, value, state[name]) for name, value in remembered.items()}
        new["N"] = n
        new |= remembered
        observe.signals(self, change, d)
        if self.returns_d:
            new["D"] = d
        kept, new["S"] = self.mim_s(d, c, state["S"])
        kept, remembered = self.attended("t", kept, state)
        return kept, {**new, **remembered}, {**carry, "D": d}


def _start_within(limit: float, unit: nn.Module) -> None:
    for name, parameter in unit.named_parameters():
        if ".kernels." in f".{name}":
            nn.init.uniform_(parameter, -limit, limit)
        elif ".biases." in f".{name}":
            nn.init.zeros_(parameter)
