"""Peepholes: a gate that looks at the memory, element by element.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stkit.cells.compiled import gates as in_c
from stkit.cells.compiled.kernels import channels_last, in_memory
from stkit.cells.gated import SMALL
from stkit.cells.modes import seen_by_modes

Field = Float[Tensor, "B C H W"]


class Peephole(nn.Module):
    """``gate + w . c`` with one weight for each channel, or for each channel and grid cell. Weights start at zero.

    Args:
        channels: of the gate and of the memory.
        grid: None: one weight for each channel, which fits any grid; height and width: one for each grid cell too.
        device: of the weights.
        dtype: of the weights.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int] | None = None,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.weight = nn.Parameter(torch.zeros(channels, *(grid or (1, 1)), device=device, dtype=dtype))

    def forward(self, gate: Field, c: Field) -> Field:
        """The pre-activation ``gate`` with the peephole on ``c`` added.

        Raises:
            ValueError: if the weights belong to another grid.
        """
        if self.grid is not None and c.shape[-2:] != self.grid:
            raise ValueError(
                f"per-pixel peepholes of a {self.grid[0]} x {self.grid[1]} grid were given "
                f"{c.shape[-2]} x {c.shape[-1]}; peepholes per channel fit any grid"
            )
        weight = self.weight
        if self.grid is not None and c.device.type == "cpu" and c.is_contiguous(memory_format=torch.channels_last):
            weight = weight[None].contiguous(memory_format=torch.channels_last)  # else cell by cell in two orders
        if not _fits(gate, weight, c):
            return torch.addcmul(gate, weight, c)
        made: Tensor = _Look.apply(gate, weight, c) if torch.is_grad_enabled() else in_c.peephole(gate, weight, c)
        return made


def _fits(gate: Tensor, weight: Tensor, c: Tensor) -> bool:
    """Whether it is computed in C: fields large enough, in float32, all in one order in memory."""
    if torch.compiler.is_compiling() or c.device.type != "cpu" or c.numel() < SMALL or seen_by_modes():
        return False
    if gate.shape != c.shape or weight.dtype != torch.float32 or not in_memory(weight):
        return False
    each = weight.shape[-2:] == (1, 1)  # then the weights come again in each cell, if its channels lie side by side
    return in_c.fits(gate, c) and (channels_last(c) if each else weight.stride()[-3:] == c.stride()[-3:])


class _Look(torch.autograd.Function):
    """``gate + weight . c`` in C."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, weight: Tensor, c: Tensor) -> Tensor:
        ctx.save_for_backward(weight, c)
        return in_c.peephole(gate, weight, c)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, c = ctx.saved_tensors
        if gradient.stride() != c.stride():
            gradient = torch.empty_like(c).copy_(gradient)
        return gradient, *in_c.peephole_gradients(gradient, weight, c)


class NoPeephole(nn.Module):
    """The gate as it is."""

    def forward(self, gate: Field | None, c: Field) -> Field | None:
        """``gate``, unchanged; None where the cell has no such gate."""
        return gate


def build_peephole(
    kind: Literal["channel", "pixel", "none"],
    channels: int,
    grid: tuple[int, int] | None,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """The peephole of that kind: a module ``(gate, c) -> gate``.

    Raises:
        ValueError: if it is per pixel and the grid is not known.
    """
    if kind == "none":
        return NoPeephole()
    if kind == "channel":
        return Peephole(channels, device=device, dtype=dtype)
    if grid is None:
        raise ValueError("per-pixel peepholes need to know the grid when the model is built; per-channel ones do not")
    return Peephole(channels, grid, device=device, dtype=dtype)
