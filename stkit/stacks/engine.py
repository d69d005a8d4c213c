"""Which engine computes a model's convolutions, and what is said of it in the run record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from stkit.cells.auto import Auto
from stkit.cells.base import Cell
from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.cells.engine import Direct, Engine
from stkit.cells.fused import Fused, has_norms
from stkit.cells.gates import GateBlock, use_engine
from stkit.cells.tiles import OUTPUT
from stkit.cells.winograd import Winograd, can_take, pays

EngineName = Literal["auto", "direct", "winograd", "fused"]

ROUNDING = "outputs within 10 times, gradients within 20 times the rounding of the direct convolution in float32"
"""What tests hold Winograd's engine to, against float64."""


TOO_SMALL = "too small to gain from it"
_ONE_CELL = "with kernels of 1 x 1"


def set_engine(module: nn.Module, name: EngineName) -> None:
    """Let all gate blocks of a model convolve with the engine of that name.

    Raises:
        ValueError: ``winograd`` is insisted on, and no block has kernels that it takes.
    """
    if name == "winograd" and not any(can_take(block) for block in _blocks(module)):
        sides = ", ".join(dict.fromkeys(_sides(block) for block in _blocks(module)))
        raise ValueError(
            f"winograd takes square kernels of 3 or 5 cells, and no cell of this model has them, but {sides}; say auto"
        )
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
    """What ``run.json`` says: the engine that was asked for, how many gate blocks are convolved by which, and why some
    are convolved directly where another engine was asked for.

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
    fused = name == "fused" or (name == "auto" and device.type == "cuda")
    tiles = batch * -(-grid[0] // OUTPUT) * -(-grid[1] // OUTPUT)
    slices = _slices(module)

    def obstacle(block: GateBlock) -> str | None:
        """Why it is convolved directly; None where it is not."""
        if fused:
            return "with norms" if has_norms(block) else None
        if not fits_here:
            return f"in {precision} on {device.type}"
        if not can_take(block):
            return f"with kernels of {_sides(block)}"
        if name == "auto" and not pays(block, tiles * slices.get(block, 1)):
            return TOO_SMALL
        return None

    blocks = _blocks(module)
    if name == "direct":
        return {"asked": name, "winograd": 0, "direct": len(blocks)}
    reasons = Counter(reason for reason in map(obstacle, blocks) if reason is not None)
    taken = len(blocks) - reasons.total()
    said: dict[str, Any] = {"asked": name, "winograd": 0 if fused else taken, "direct": reasons.total()}
    if fused:
        said["fused"] = taken
    if reasons:
        said["directly"] = dict(reasons)
    if said["winograd"]:
        found = library()
        if isinstance(found, NoCompiler):
            said["compiled"] = f"no: {found}"
        else:
            said["compiled"] = "yes, with the matrix unit" if found.matrix_unit else "yes"
        said["rounding"] = ROUNDING
    return said


def engine_line(record: Mapping[str, Any]) -> str | None:
    """What a log says of :func:`engine_record`; None where nothing but kernels of one cell is convolved directly, and
    what can be compiled is.
    """
    reasons: Mapping[str, int] = record.get("directly", {})
    parts = []
    if any(reason != _ONE_CELL for reason in reasons):
        other = "fused" if "fused" in record else "winograd"
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        by = f"{record[other]} gate blocks by {other}, {record['direct']}" if record[other] else "all gate blocks"
        parts.append(f"{by} directly: {why}")
    if record.get("compiled", "yes").startswith("no"):
        parts.append(f"winograd by torch's operators, which is slower, not compiled: {record['compiled'][4:]}")
    return f"engine {record['asked']}: {'; '.join(parts)}" if parts else None


def _blocks(module: nn.Module) -> list[GateBlock]:
    return [part for part in module.modules() if isinstance(part, GateBlock)]


def _sides(block: GateBlock) -> str:
    return " x ".join(map(str, next(iter(block.kernels.values())).shape[2:]))


def _slices(module: nn.Module) -> dict[GateBlock, int]:
    """Of the fields of each block that convolves slices, how many there are."""
    cells = [part for part in module.modules() if isinstance(part, Cell) and part.output_depth]
    deep = {block: cell.output_depth for cell in cells for block in _blocks(cell)}
    return {block: depth for block, depth in deep.items() if next(iter(block.kernels.values())).ndim == 5}
