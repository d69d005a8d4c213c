"""Between the frames of a field and a network that works on patches.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width in the grid of the data; ``h``, ``w`` in
patches.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor, nn

from stkit.cells.attend import KeyMask
from stkit.cells.base import Cell, Tensors
from stkit.stacks.nonstationary import AsItIs, NonStationary
from stkit.stacks.patch import Patches
from stkit.stacks.rollout import Rollout


class Framing(nn.Module):
    """What frames go through on their way into the network, and what it says on its way out; which channels are known.

    Its arguments are those of :class:`stkit.stacks.forecaster.Forecaster`.
    """

    def __init__(
        self,
        rollout: Rollout,
        *,
        in_channels: int,
        out_channels: int,
        known_channels: int | None = None,
        patch: int = 1,
        nonstationary: NonStationary | None = None,
    ) -> None:
        super().__init__()
        self.network = rollout
        self.nonstationary = AsItIs() if nonstationary is None else nonstationary
        self.in_channels = in_channels
        self.state_channels = out_channels
        self.known_channels = max(in_channels - out_channels, 0) if known_channels is None else known_channels
        self.patch = patch
        self.hand_out_increments(wanted=False)

    def hand_out_increments(self, *, wanted: bool) -> None:
        """Whether :meth:`rollout` gives what steps add to the memories as by-products, for a loss that reads them."""
        for part in self.network.modules():
            if isinstance(part, Cell):
                part.hands_out_increments = wanted

    @property
    def fed_channels(self) -> int:
        """State channels that the model takes in."""
        return self.in_channels - self.known_channels

    @property
    def takes_base(self) -> bool:
        """Whether it can forecast the departure from a ``base``: nothing sets the level of its forecasts already."""
        return not self.nonstationary.sets_level

    def _frame(self, said: Tensor, memory: Tensors, base: Tensor | None) -> Tensor:
        """The full forecast on the data's grid: what the head said of the next frame, decoded, on top of the base."""
        frame = self.nonstationary.decode(self._fed(said), memory)
        if self.fed_channels < self.state_channels:
            frame = torch.cat([frame, said[:, self.fed_channels :]], dim=1)
        return frame if base is None else base + frame

    def _input(self, z: Tensor, known: Tensor) -> Tensor:
        patches = Patches(self.patch, *z.shape[-2:])
        return join(patches.fold(z), patches.fold(known))

    def _keys(self, context: Tensor, valid: Tensor | None) -> Tensor | None:
        """What attention may look at, ``B h w`` in patches; None where that is everything, or nothing attends."""
        if valid is None or not any(isinstance(part, KeyMask) for part in self.network.modules()):
            return None
        batch, steps, _, height, width = context.shape
        check_shape("valid", valid, (batch, steps, valid.shape[2], height, width))
        valid = self._fed(valid)
        keys = self._patched(valid)
        if torch.compiler.is_compiling() or (keys.is_cuda and torch.cuda.is_current_stream_capturing()):
            return keys  # a graph cannot depend on what a tensor holds
        # Without a mask attention computes the same numbers faster.
        return None if bool(keys.all()) else keys

    def _patched(self, valid: Tensor) -> Tensor:
        """Patches with a cell that has a value in some field of some frame: ``B T C H W -> B h w``."""
        seen = valid.any(dim=(1, 2))
        return Patches(self.patch, *seen.shape[-2:]).fold(seen[:, None].float()).any(dim=1)

    @overload
    def _fed(self, frames: Tensor) -> Tensor: ...

    @overload
    def _fed(self, frames: None) -> None: ...

    def _fed(self, frames: Tensor | None) -> Tensor | None:
        """The channels that are taken in and fed back, of ``.. C H W``."""
        if frames is None:
            return None
        if frames.shape[-3] < self.fed_channels:
            raise ValueError(f"the model takes in {self.fed_channels} state channels, received {frames.shape[-3]}")
        return frames[..., : self.fed_channels, :, :]

    def _check_base(self, base: Tensor | None, shape: tuple[int, ...]) -> None:
        if base is not None and not self.takes_base:
            raise ValueError(
                "base: the model's module for non-stationary fields says itself around which level the next frame lies;"
                " a second level has no meaning"
            )
        check_shape("base", base, shape)


def join(frame: Tensor, known: Tensor | None) -> Tensor:
    """A frame and its known inputs side by side on the channels."""
    return frame if known is None or not known.shape[1] else torch.cat([frame, known], dim=1)


def frame_at(frames: Tensor | None, t: int) -> Tensor | None:
    """``B C H W`` of ``B T C H W``, where there are any."""
    return None if frames is None else frames[:, t]


def check_shape(what: str, value: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise a ValueError where a value that is given has another shape."""
    if value is not None and tuple(value.shape) != shape:
        raise ValueError(f"{what}: expected the shape {shape}, received {tuple(value.shape)}")
