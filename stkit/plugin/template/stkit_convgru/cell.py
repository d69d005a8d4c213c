"""The convolutional GRU.

Nicolas Ballas, Li Yao, Chris Pal, Aaron Courville: Delving Deeper into Convolutional
Networks for Learning Video Representations, ICLR 2016, arXiv:1511.06432. Written from
the equations. They have no offsets b; here those are an option.

Axes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from stkit.cells import Cell, CellSite, GateBlock, Source, StepOut, Tensors
from torch import Tensor, sigmoid, tanh

from stkit_convgru.config import ConvGruConfig


class ConvGruCell(Cell):
    """One state H, which an update gate Z mixes with a candidate N::

        Z = sigmoid(Wxz * X + Whz * H' + bz)
        R = sigmoid(Wxr * X + Whr * H' + br)
        N = tanh(Wxn * X + Whn * (R . H') + bn)
        H = (1 - Z) . H' + Z . N

    ``*`` is a convolution, ``.`` a product of elements, ``'`` marks the step before.

    Args:
        in_channels: channels of ``X``; 0: there is no input.
        width: channels of ``H``.
        kernel: side of the kernels, in grid cells.
        bias: add ``b``.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        kernel: int = 3,
        bias: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = width
        # Memories that run through the layers would be declared here.
        self.carry_spec = {}

        def block(gates: str) -> GateBlock:
            """For each gate the sum of a convolution of X and one of H."""
            return GateBlock(
                width,
                {"x": Source.of(in_channels, gates), "h": Source.of(width, gates)},
                kernel=kernel,
                bias="gate" if bias else "none",
                device=device,
                dtype=dtype,
            )

        # N reads R . H' in place of H', so it cannot be computed along with Z and R.
        self.gates = block("z r")
        self.candidate = block("n")

    @classmethod
    def from_config(cls, config: ConvGruConfig, site: CellSite) -> Cell:
        """As a recipe says it; ``site`` is where in the stack the cell will stand."""
        return cls(
            site.in_channels,
            site.width,
            kernel=config.kernel,
            bias=config.bias,
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensors:
        """Zeros. Whatever the cell remembers is an entry here, and none is on self."""
        size = (batch, self.out_channels, height, width)
        return {"h": torch.zeros(size, device=device, dtype=dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """One time step: the equations above. ``x``: ``B C H W``, or None."""
        h = state["h"]
        a = self.gates(x=x, h=h)
        z, r = sigmoid(a["z"]), sigmoid(a["r"])
        n = tanh(self.candidate(x=x, h=r * h)["n"])
        # A new tensor, not h itself changed: the caller may still need the old state.
        h = (1 - z) * h + z * n
        # What rises, what stays, the memories of others, by-products for a loss.
        return StepOut(h, {"h": h}, carry, {})
