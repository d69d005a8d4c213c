"""A rollout for training: the whole sequence is at hand, and for each frame it is said whether the network sees it.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width, all in the grid of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from stkit.cells.base import Tensors
from stkit.stacks.framing import Framing, frame_at, join
from stkit.stacks.nonstationary import chosen
from stkit.stacks.patch import Patches
from stkit.stacks.recompute import step as recomputed_step
from stkit.stacks.rollout import Aux, RolloutState, detached


class RolloutOut(NamedTuple):
    """What a training rollout gives."""

    predictions: Tensor
    """``B N C H W``: forecasts of the frames ``first`` to ``first + N - 1``."""
    first: int
    """Index, in the frames given, of the first one that is forecast."""
    aux: list[tuple[Mapping[str, Tensor], ...]]
    """By-products: for each step taken, for each node, tensors by name (in folded space)."""


class _Seen(NamedTuple):
    """What a training rollout knows of one frame."""

    frame: Tensor
    valid: Tensor | None
    shown: bool | Tensor
    """Whether the network sees it, or its own forecast of it; for each sample where samples differ."""
    known: Tensor | None
    next_known: Tensor | None
    base: Tensor | None
    """The forecast of the next frame from which the model forecasts the departure."""
    in_context: bool


class Unrolling(Framing):
    """A network that goes through a sequence step by step, for its losses."""

    def _unroll(
        self,
        frames: Tensor,
        context_steps: int,
        known: Tensor | None,
        base: Tensor | None,
        tokens: Tensor | None,
        valid: Tensor | None,
        truncate: int | None,
    ) -> RolloutOut:
        batch, steps, _, height, width = frames.shape
        patches = Patches(self.patch, height, width)
        known = None if known is None else patches.fold(known)
        first = 1 if self.network.predicts_context else context_steps
        state = self.network.initial_state(batch, *patches.grid, frames.device, frames.dtype)
        memory = self.nonstationary.initial_memory(batch, height, width, frames.device, frames.dtype)
        aux: list[tuple[Mapping[str, Tensor], ...]] = []
        predictions: list[Tensor] = []
        forecast: Tensor | None = None
        for t in range(steps - 1):
            if truncate is not None and t and t % truncate == 0:
                state, memory = detached(state), {name: value.detach() for name, value in memory.items()}
                forecast = None if forecast is None else forecast.detach()
            shown = True if t == 0 else t < context_steps if tokens is None else tokens[:, t - 1]
            at = _Seen(
                frames[:, t],
                frame_at(valid, t),
                shown,
                frame_at(known, t),
                frame_at(known, t + 1),
                frame_at(base, t),
                t < context_steps,
            )
            forecast, state, memory, taken = recomputed_step(self._advance, at, forecast, state, memory, t + 1 >= first)
            aux.extend(taken)
            if forecast is not None:
                predictions.append(forecast)
        return RolloutOut(torch.stack(predictions, dim=1), first, aux)

    def _advance(
        self, at: _Seen, forecast: Tensor | None, state: RolloutState, memory: Tensors, speaks: bool
    ) -> tuple[Tensor | None, RolloutState, Tensors, tuple[Aux, ...]]:
        """One time step of a training rollout, from the forecast of its frame to that of the next one.

        Args:
            at: the frame.
            forecast: of it; None where there is none yet.
            state: of the network.
            memory: of the module for non-stationary fields.
            speaks: whether the next frame is forecast.
        """
        patches = Patches(self.patch, *at.frame.shape[-2:])
        if at.shown is True:
            z, memory = self.nonstationary.encode(at.frame, memory, at.valid)
        else:
            assert forecast is not None
            fed = self._fed(forecast)
            if at.shown is False:
                z, memory = self.nonstationary.feed(fed, memory)
            else:
                z, memory = self._shown_or_fed(at.shown, at.frame, at.valid, fed, memory)
        take_in = self.network.absorb if at.in_context else self.network.feed
        state, aux = take_in(join(patches.fold(z), at.known), state)
        if not speaks:
            return None, state, memory, aux
        said, state, more = self.network.forecast(at.next_known, state)
        return self._frame(patches.unfold(said), memory, at.base), state, memory, (*aux, *more)

    def _shown_or_fed(
        self, shown: Tensor, frame: Tensor, valid: Tensor | None, forecast: Tensor, memory: Tensors
    ) -> tuple[Tensor, Tensors]:
        """For each sample the frame or the forecast of it, and the memory after that."""
        seen, after_frame = self.nonstationary.encode(frame, memory, valid)
        fed, after_forecast = self.nonstationary.feed(forecast, memory)
        return torch.where(shown[:, None, None, None], seen, fed), chosen(shown, after_frame, after_forecast)
