"""What stands between the frames and the network where fields are not stationary; it knows the way back exactly.

Axes: ``B`` batch, ``C`` state channels that the model takes in, ``H`` height, ``W`` width of the data's grid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from stkit.cells.base import Tensors

Frame = Float[Tensor, "B C H W"]
Valid = Bool[Tensor, "B C H W"]


class NonStationarySite(NamedTuple):
    """Where such a module stands: what the target of a module for the slot ``nonstationary`` is built from."""

    channels: int
    """State channels that the model takes in; each is treated by itself."""
    grid: tuple[int, int] | None
    """Height and width of the data; None where they are not known."""
    device: torch.device | None = None
    dtype: torch.dtype | None = None


class NonStationary(nn.Module):
    """Makes of each frame what the network works on, and of the network's answer the next frame.

    A level and perhaps a scale are known of the next frame before it comes; the network sees, and says, the rest::

        z, after = module.encode(frame, before, valid)     # a frame that is shown
        z, after = module.feed(forecast, before)           # a forecast in its place
        frame = module.decode(z, memory)                   # the frame that comes next, from what the network said

    ``decode`` undoes ``feed`` exactly: with ``z, _ = feed(frame, memory)``, ``decode(z, memory)`` is ``frame``. So a
    network that says zero says the module's own naive forecast.

    What it knows of a sequence is in the memory alone, which is handed from step to step as the state of a cell: the
    same tensors by the same names at every step, their first axis the batch. Statistics and fits come from the frames
    that were shown, never from forecasts or from frames to come, and each cell's missing values are left out.

    Attributes:
        sets_level: it says around which level the next frame lies, so that a second one (``base``) has no meaning.
    """

    sets_level: bool = True

    def initial_memory(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """The memory before the first frame; ``dtype`` is that of the frames."""
        raise NotImplementedError

    def encode(self, frame: Frame, memory: Tensors, valid: Valid | None = None) -> tuple[Tensor, Tensors]:
        """What the network sees of a frame that is shown, ``B C H W``, and the memory after it.

        Args:
            frame: zeros where there is no value.
            memory: from before the frame.
            valid: where there is a value; None: everywhere.
        """
        raise NotImplementedError

    def feed(self, forecast: Frame, memory: Tensors) -> tuple[Tensor, Tensors]:
        """The same for a forecast that stands in for a frame."""
        raise NotImplementedError

    def decode(self, z: Frame, memory: Tensors) -> Tensor:
        """The next frame ``B C H W`` from what the network says of it, given the memory of all frames before it."""
        raise NotImplementedError


class AsItIs(NonStationary):
    """No such module: the network sees the frames themselves."""

    sets_level = False

    def initial_memory(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Nothing."""
        return {}

    def encode(self, frame: Frame, memory: Tensors, valid: Valid | None = None) -> tuple[Tensor, Tensors]:
        """The frame."""
        return frame, memory

    def feed(self, forecast: Frame, memory: Tensors) -> tuple[Tensor, Tensors]:
        """The forecast."""
        return forecast, memory

    def decode(self, z: Frame, memory: Tensors) -> Tensor:
        """What the network said."""
        return z


def present(frame: Frame, valid: Valid | None) -> Valid:
    """Where a frame has a value."""
    return torch.ones_like(frame, dtype=torch.bool) if valid is None else valid


def chosen(shown: Bool[Tensor, " B"], one: Tensors, other: Tensors) -> Tensors:
    """For each sample of the batch the memory ``one`` where ``shown``, otherwise ``other``."""
    return {
        name: torch.where(shown.view(-1, *[1] * (value.ndim - 1)), value, other[name]) for name, value in one.items()
    }
