"""Which engine computes a model's convolutions, and what is said of it in the run record."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from stkit.cells.auto import Auto
from stkit.cells.base import Cell
from stkit.cells.engine import Direct, Engine
from stkit.cells.fused import Fused, has_norms
from stkit.cells.gates import GateBlock, use_engine
from stkit.cells.winograd import OUTPUT, Winograd, can_take, pays

EngineName = Literal["auto", "direct", "winograd", "fused"]

ROUNDING = "outputs within 10 times, gradients within 20 times the rounding of the direct convolution in float32"
"""What tests hold Winograd's engine to, against float64."""


def set_engine(module: nn.Module, name: EngineName) -> None:
    """Let all gate blocks of a model convolve with the engine of that name.

    Raises:
        ValueError: ``winograd`` is insisted on, and no block has kernels that it takes.
    """
    if name == "winograd" and not any(can_take(block) for block in _blocks(module)):
        raise ValueError("winograd takes square kernels of 3 or 5 cells, and no cell of this model has them")
    engines: dict[EngineName, Engine] = {
        "auto": Auto(),
        "direct": Direct(),
        "winograd": Winograd(),
        "fused": Fused(),
    }
    use_engine(module, engines[name])


def engine_record(
    module: nn.Module, name: EngineName, *, batch: int, grid: tuple[int, int], device: torch.device, precision: str
) -> dict[str, Any]:
    """What ``run.json`` says: the engine that was asked for, and how many gate blocks are convolved by which.

    Args:
        module: the model.
        name: as in the recipe.
        batch: windows that one process works on at a time.
        grid: height and width of the cells' tensors, in patches.
        device: where the model is.
        precision: as in the recipe; ``no`` is float32.

    Raises:
        ValueError: ``winograd`` is insisted on where it cannot be: not on a processor, or not in float32.
    """
    fits_here = device.type == "cpu" and precision == "no"
    if name == "winograd" and not fits_here:
        raise ValueError(f"winograd computes in float32 on a processor, not in {precision} on {device.type}; say auto")
    blocks = _blocks(module)
    taken = [block for block in blocks if fits_here and name in ("auto", "winograd") and can_take(block)]
    if name == "auto":
        tiles = batch * -(-grid[0] // OUTPUT) * -(-grid[1] // OUTPUT)
        slices = _slices(module)
        taken = [block for block in taken if pays(block, tiles * slices.get(block, 1))]
    fused = [block for block in blocks if not has_norms(block)]
    if not (name == "fused" or (name == "auto" and device.type == "cuda")):
        fused = []
    said: dict[str, Any] = {"asked": name, "winograd": len(taken), "direct": len(blocks) - len(taken) - len(fused)}
    if fused:
        said["fused"] = len(fused)
    return {**said, "rounding": ROUNDING} if taken else said


def _blocks(module: nn.Module) -> list[GateBlock]:
    return [part for part in module.modules() if isinstance(part, GateBlock)]


def _slices(module: nn.Module) -> dict[GateBlock, int]:
    """Of the fields of each block that convolves slices, how many there are."""
    cells = [part for part in module.modules() if isinstance(part, Cell) and part.output_depth]
    deep = {block: cell.output_depth for cell in cells for block in _blocks(cell)}
    return {block: depth for block, depth in deep.items() if next(iter(block.kernels.values())).ndim == 5}
