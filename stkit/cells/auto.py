"""The engine of a recipe that names none: by device, and by what pays."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from torch import Tensor

from stkit.cells.engine import Engine, Pieces, entered, together
from stkit.cells.fused import Fused
from stkit.cells.winograd import Winograd

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock


class Auto(Engine):
    """On a GPU :class:`stkit.cells.Fused`; on a processor :class:`stkit.cells.Winograd` where it pays."""

    name = "auto"
    adds_bias = True

    def __init__(self) -> None:
        self.processor = Winograd(where_it_pays=True)
        self.gpu = Fused()

    def sequence(self) -> AbstractContextManager[None]:
        """See :meth:`Engine.sequence`."""
        return entered([self.processor.sequence, self.gpu.sequence])

    def pieces(self, *, keep_weights: bool = True) -> Pieces:
        """See :meth:`Engine.pieces`."""
        return together(*(engine.pieces(keep_weights=keep_weights) for engine in (self.processor, self.gpu)))

    def __call__(self, block: GateBlock, inputs: Mapping[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        """One pre-activation ``B width *grid`` for each gate of ``block``, with the gate's own bias."""
        if next(iter(inputs.values()))[0].is_cuda:
            return self.gpu(block, inputs)
        return block.biased(self.processor(block, inputs))
