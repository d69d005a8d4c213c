"""Running on from frames: the state in which a stream stands, and how it takes in a context and its own forecasts.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``K`` known inputs, ``H`` height, ``W`` width, in the grid of the data.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stkit.cells.base import Tensors
from stkit.stacks.framing import Framing, frame_at
from stkit.stacks.patch import Patches
from stkit.stacks.rollout import RolloutState


class StreamState(NamedTuple):
    """Where a stream stands: everything that is needed to go on, and the forecast of the next frame."""

    rollout: RolloutState
    forecast: Tensor
    """``B C H W``: the forecast of the frame that comes next."""
    next_known: Tensor
    """``B K H W``: the known inputs of that frame, or the last ones known; ``K`` may be 0."""
    memory: Tensors
    """What the module for non-stationary fields knows of the frames so far; empty where there is none."""
    keys: Tensor | None = None
    """``B h w``, in patches: what attention may look at; None: everything."""


class Streaming(Framing):
    """A network that takes in frames one by one, and its own forecasts where there are none."""

    def _absorb(
        self, context: Tensor, valid: Tensor | None, next_known: Tensor | None, base: Tensor | None
    ) -> StreamState:
        batch, steps, channels, height, width = context.shape
        if steps < 1 or channels != self.in_channels:
            raise ValueError(
                f"a context has at least 1 frame of {self.in_channels} channels, received {steps} of {channels}"
            )
        frames, known, valid = self._fed(context), context[:, :, self.fed_channels :], self._fed(valid)
        grid = Patches(self.patch, height, width).grid
        state = self.network.initial_state(batch, *grid, context.device, context.dtype)
        memory = self.nonstationary.initial_memory(batch, height, width, context.device, context.dtype)
        for t in range(steps):
            z, memory = self.nonstationary.encode(frames[:, t], memory, frame_at(valid, t))
            state, _ = self.network.absorb(self._input(z, known[:, t]), state)
        return self._forecast(state, memory, known[:, -1], next_known, base)

    def _forecast(
        self, rollout: RolloutState, memory: Tensors, known: Tensor, next_known: Tensor | None, base: Tensor | None
    ) -> StreamState:
        """Forecast the next frame. Its known inputs are ``next_known``, or those of the last frame are held."""
        patches = Patches(self.patch, *known.shape[-2:])
        next_known = known if next_known is None else next_known
        said, rollout, _ = self.network.forecast(patches.fold(next_known), rollout)
        return StreamState(rollout, self._frame(patches.unfold(said), memory, base), next_known, memory)

    def _free(self, stream: StreamState, horizon: int, known: Tensor | None, base: Tensor | None) -> Tensor:
        """Run on from a stream's forecast, which is the first of the frames."""
        forecasts = [stream.forecast]
        for lead in range(1, horizon):
            stream = self._next(stream, frame_at(known, lead), frame_at(base, lead))
            forecasts.append(stream.forecast)
        return torch.stack(forecasts, dim=1)

    def _next(self, stream: StreamState, known: Tensor | None, base: Tensor | None) -> StreamState:
        """Feed a stream its own forecast."""
        x, memory = self._forecast_as_input(stream)
        rollout, _ = self.network.feed(x, stream.rollout)
        return self._forecast(rollout, memory, stream.next_known, known, base)

    def _forecast_as_input(self, stream: StreamState) -> tuple[Tensor, Tensors]:
        """The network's input where the stream's forecast stands in for the frame, and the memory after it."""
        z, memory = self.nonstationary.feed(self._fed(stream.forecast), stream.memory)
        return self._input(z, stream.next_known), memory
