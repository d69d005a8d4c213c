"""A sound cell, from which the faulty ones derive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stkit.cells.base import Cell, CellSite, StepOut, Tensors
from stkit.plugin.config import CarryPort, CellConfig


class PlainConfig(CellConfig):
    """Configuration of the cells below."""

    name: str = "plain"

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        return {"m": CarryPort(reads=width, writes=width)}


class Plain(Cell):
    """Sound, and as small as a cell with state and carry can be: the faulty ones differ from it in one place."""

    carry_spec: Mapping[str, CarryPort]

    def __init__(self, site: CellSite) -> None:
        super().__init__()
        self.in_channels, self.out_channels = site.in_channels, site.width
        self.carry_spec = PlainConfig().carry_ports(site.width)
        to: dict[str, Any] = {"device": site.device, "dtype": site.dtype}
        sources = site.in_channels + 2 * site.width
        self.gate = nn.Conv2d(sources, site.width, 3, padding=1, **to)
        self.new = nn.Conv2d(sources, site.width, 3, padding=1, **to)
        self.memory = nn.Conv2d(2 * site.width, site.width, 1, **to)

    @classmethod
    def from_config(cls, config: PlainConfig, site: CellSite) -> Plain:
        return cls(site)

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        shape = (batch, self.out_channels, height, width)
        return {name: torch.zeros(shape, device=device, dtype=dtype) for name in ("h", "c")}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        assert x is not None
        c, m = self.memories(torch.cat([x, state["h"], carry["m"]], 1), state["c"], carry["m"])
        h = torch.tanh(c + m)
        return StepOut(h, {"h": h, "c": c}, {**carry, "m": m}, {})

    def memories(self, seen: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(self.gate(seen))
        c = gate * c + (1 - gate) * torch.tanh(self.new(seen))
        return c, torch.tanh(self.memory(torch.cat([c, m], 1)))
