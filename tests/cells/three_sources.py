"""A gate block of three sources, of which the last is two tensors, and what it reads in a step."""

from __future__ import annotations

from torch import Tensor, nn, random

from stkit.cells import Direct, GateBlock, Source
from stkit.testing.strategies import tensor


def built(
    seed: int = 0,
    *,
    kernel: int | tuple[int, ...] = 3,
    norm: bool = False,
    bias: str = "source",
    width: int = 16,
) -> GateBlock:
    """With the engine that is the oracle, and offsets that are not small."""
    random.manual_seed(seed)
    block = GateBlock(
        width,
        {"x": Source.of(3, "i f g o"), "h": Source.of(width, "f o i"), "m": Source.of(5, "q i")},
        kernel=kernel,
        bias=bias,
        norm=(lambda channels: nn.GroupNorm(2, channels)) if norm else None,
    )
    for own in block.biases.values():
        nn.init.normal_(own)
    block.engine = Direct()
    return block


def of_steps(seed: int, grid: tuple[int, ...], width: int = 16, batch: int = 2) -> list[Tensor]:
    """``x``, ``h`` and the two tensors of ``m``."""
    return [tensor(seed + place, batch, channels, *grid) for place, channels in enumerate((3, width, 2, 3))]
