"""What the tests of modules for non-stationary fields share: the modules by name, and a walk through a sequence."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from stkit.cells.base import Tensors
from stkit.plugin.manager import plugins
from stkit.stacks import NonStationary, NonStationarySite
from stkit.testing.strategies import tensor

F64 = torch.float64

KINDS: dict[str, dict[str, Any]] = {
    "difference": {"name": "differencing"},
    "second difference": {"name": "differencing", "order": 2},
    "season": {"name": "differencing", "order": 0, "season": 3},
    "difference and season": {"name": "differencing", "order": 1, "season": 2},
    "norm": {"name": "reversible_norm"},
    "norm of cells": {"name": "reversible_norm", "level": "cell", "affine": False},
    "trend": {"name": "trend_season", "window": 4},
    "trend and season": {"name": "trend_season", "season": 4, "harmonics": 1, "window": 7},
    "season of all waves": {"name": "trend_season", "trend": False, "season": 4, "harmonics": 2, "window": 6},
}
"""Each kind of module, at sizes for short sequences."""

REACH = {
    "difference": 1,
    "second difference": 2,
    "season": 3,
    "difference and season": 3,
    "norm": 0,
    "norm of cells": 0,
    "trend": 2,
    "trend and season": 4,
    "season of all waves": 4,
}
"""Frames after which a module knows its level."""


def made(kind: str, channels: int = 1, *, moved_by: int | None = None, dtype: torch.dtype = F64) -> NonStationary:
    """A module as a recipe would build it, its parameters moved by the noise of a seed, or as they start."""
    spec = plugins().resolve("modules", KINDS[kind]["name"], slot="nonstationary")
    site = NonStationarySite(channels, None, None, dtype)
    module: NonStationary = spec.load_target().from_config(spec.load_config()(**KINDS[kind]), site)
    if moved_by is not None:
        with torch.no_grad():
            for number, parameter in enumerate(module.parameters()):
                parameter.add_(tensor(moved_by + number, *parameter.shape, dtype=dtype), alpha=0.3)
    return module


class Walk(NamedTuple):
    """What a module saw of a sequence."""

    z: Tensor
    """``B T C H W``."""
    before: list[Tensors]
    """The memory before each frame."""
    memory: Tensors
    """The memory after all of them."""


def walk(module: NonStationary, frames: Tensor, valid: Tensor | None = None, memory: Tensors | None = None) -> Walk:
    """Show a module a sequence ``B T C H W``."""
    if memory is None:
        memory = module.initial_memory(frames.shape[0], *frames.shape[-2:], frames.device, frames.dtype)
    before, zs = [], []
    for t in range(frames.shape[1]):
        before.append(memory)
        z, memory = module.encode(frames[:, t], memory, None if valid is None else valid[:, t])
        zs.append(z)
    return Walk(torch.stack(zs, 1), before, memory)


def naive(module: NonStationary, memory: Tensors, frame: Tensor, leads: int) -> Tensor:
    """Forecasts ``B leads C H W`` of a network that always says zero, fed back; ``frame`` tells the shape."""
    said = []
    for _ in range(leads):
        said.append(module.decode(torch.zeros_like(frame), memory))
        _, memory = module.feed(said[-1], memory)
    return torch.stack(said, 1)
