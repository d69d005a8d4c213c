"""What users hold: frames in, frames out.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width, all in the grid of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from stkit.cells.attend import KeyMask, masked_keys
from stkit.cells.base import Cell, Tensors
from stkit.cells.gates import sequence
from stkit.stacks.nonstationary import AsItIs, NonStationary, chosen
from stkit.stacks.patch import Patches
from stkit.stacks.recompute import Level, recomputing
from stkit.stacks.recompute import step as recomputed_step
from stkit.stacks.rollout import Aux, Rollout, RolloutState, detached

Frame = Float[Tensor, "B _ H W"]
Frames = Float[Tensor, "B _ _ H W"]
AnyFrame = Float[Tensor, "_ _ _ _"]
AnyFrames = Float[Tensor, "_ _ _ _ _"]
AnyValid = Bool[Tensor, "_ _ _ _ _"]


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


class Forecaster(nn.Module):
    """Forecasts any number of frames from any number of frames, on any grid.

    .. code-block:: python

        forecaster = stkit.build("predrnn", in_channels=1, layers=[32, 32])
        forecast = forecaster(context, horizon=10)            # B T 1 H W -> B 10 1 H W

        stream = forecaster.warm(context)                     # stream.forecast: B 1 H W
        forecast, stream = forecaster.step(frame, stream)     # the next observation came
        forecast, stream = forecaster.step(None, stream)      # none came: go on from the forecast

    The frames' channels are the state, which is forecast and fed back, then the known inputs (calendar, mask, forcing),
    which are known in the future, too. Where more channels are forecast than taken in, the first ones are fed back.

    A field has zeros where it has no value, on land or where it is missing; ``valid`` says where that is. No attention
    looks at a patch in which no field had a value in the whole context, and no level or scale of a module for
    non-stationary fields knows of such a cell.

    Args:
        rollout: the stacks and the head, in folded space.
        in_channels: channels of the context's frames.
        out_channels: channels forecast.
        known_channels: how many of ``in_channels`` are known inputs; None: as many as are not forecast.
        patch: side in cells of the patches that the rollout's channels stand for.
        nonstationary: what the state's channels go through on their way in, and back on their way out; None: nothing.
            Channels that are forecast and not fed back are left as they are.
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

    def forward(
        self,
        context: Frames,
        horizon: int,
        *,
        known: AnyFrames | None = None,
        base: AnyFrames | None = None,
        valid: AnyValid | None = None,
    ) -> Frames:
        """The ``horizon`` frames after the context: ``B horizon C H W``. No frame of the future is looked at.

        Args:
            context: ``B T C H W``, at least one frame; the state's channels, then the known inputs.
            horizon: frames to forecast.
            known: ``B horizon K H W``, the known inputs of the frames to forecast; None: the last ones are held.
            base: ``B horizon C H W``, the forecasts from which the model forecasts the departure.
            valid: ``B T C H W``, bool: where the state's channels of the context have a value; None: everywhere.

        Raises:
            ValueError: if a shape does not fit, or there is a base and the model sets its level itself.
        """
        batch, _, _, height, width = context.shape
        if horizon < 1:
            raise ValueError(f"the horizon is at least 1 frame, received {horizon}")
        _check("known inputs", known, (batch, horizon, self.known_channels, height, width))
        self._check_base(base, (batch, horizon, self.state_channels, height, width))
        keys = self._keys(context, valid)
        with sequence(self), masked_keys(self.network, keys):
            stream = self._absorb(context, valid, _at(known, 0), _at(base, 0))
            return self._free(stream, horizon, known, base)

    def ahead(
        self, state: StreamState, horizon: int, *, known: AnyFrames | None = None, base: AnyFrames | None = None
    ) -> Frames:
        """The ``horizon`` frames after those that a stream has taken in: ``B horizon C H W``. The stream stays.

        After :meth:`warm` this is what :meth:`forward` gives for the same context.

        Args:
            state: where the stream stands; its own forecast is the first frame.
            horizon: frames to forecast.
            known: as in :meth:`forward`; those of the first frame are the stream's already.
            base: as in :meth:`forward`; that of the first frame is in the stream's forecast already.

        Raises:
            ValueError: as :meth:`forward`.
        """
        batch, _, height, width = state.forecast.shape
        if horizon < 1:
            raise ValueError(f"the horizon is at least 1 frame, received {horizon}")
        _check("known inputs", known, (batch, horizon, self.known_channels, height, width))
        self._check_base(base, (batch, horizon, self.state_channels, height, width))
        with sequence(self), masked_keys(self.network, state.keys):
            return self._free(state, horizon, known, base)

    def go_on(
        self, state: StreamState, steps: int, *, known: AnyFrames | None = None, base: AnyFrames | None = None
    ) -> tuple[Frames, StreamState]:
        """Run on from a stream's forecast, a few frames at a time: what is held does not grow with the horizon.

        The forecast that the stream stands before and those of :meth:`go_on`, one call after the other, are the frames
        of :meth:`ahead`.

        Args:
            state: where the stream stands.
            steps: frames to forecast after the stream's own forecast.
            known: ``B steps K H W``, the known inputs of these frames; None: the last ones are held.
            base: ``B steps C H W``, the forecasts from which the model forecasts the departure.

        Returns:
            The frames, ``B steps C H W``, and the stream's state before the last of them.

        Raises:
            ValueError: as :meth:`forward`.
        """
        batch, _, height, width = state.forecast.shape
        if steps < 1:
            raise ValueError(f"a stream goes on for at least 1 frame, received {steps}")
        _check("known inputs", known, (batch, steps, self.known_channels, height, width))
        self._check_base(base, (batch, steps, self.state_channels, height, width))
        forecasts = []
        with sequence(self), masked_keys(self.network, state.keys):
            for at in range(steps):
                state = self._next(state, _at(known, at), _at(base, at))._replace(keys=state.keys)
                forecasts.append(state.forecast)
        return torch.stack(forecasts, dim=1), state

    def _free(self, stream: StreamState, horizon: int, known: Tensor | None, base: Tensor | None) -> Tensor:
        """Run on from a stream's forecast, which is the first of the frames."""
        forecasts = [stream.forecast]
        for lead in range(1, horizon):
            stream = self._next(stream, _at(known, lead), _at(base, lead))
            forecasts.append(stream.forecast)
        return torch.stack(forecasts, dim=1)

    def _next(self, stream: StreamState, known: Tensor | None, base: Tensor | None) -> StreamState:
        """Feed a stream its own forecast."""
        x, memory = self._forecast_as_input(stream)
        rollout, _ = self.network.feed(x, stream.rollout)
        return self._forecast(rollout, memory, stream.next_known, known, base)

    def warm(
        self,
        context: Frames,
        *,
        next_known: AnyFrame | None = None,
        base: AnyFrame | None = None,
        valid: AnyValid | None = None,
    ) -> StreamState:
        """Take in a context ``B T C H W``; the stream then stands before the next frame and has its forecast.

        Args:
            context: as in :meth:`forward`.
            next_known: ``B K H W``, the known inputs of the frame that is forecast; None: the last ones are held.
            base: ``B C H W``, the forecast from which the model forecasts the departure.
            valid: as in :meth:`forward`.

        Raises:
            ValueError: if a shape does not fit, or there is a base and the model sets its level itself.
        """
        batch, _, _, height, width = context.shape
        _check("next known inputs", next_known, (batch, self.known_channels, height, width))
        self._check_base(base, (batch, self.state_channels, height, width))
        keys = self._keys(context, valid)
        with sequence(self), masked_keys(self.network, keys):
            return self._absorb(context, valid, next_known, base)._replace(keys=keys)

    def step(
        self,
        frame: AnyFrame | None,
        state: StreamState,
        *,
        known: AnyFrame | None = None,
        next_known: AnyFrame | None = None,
        base: AnyFrame | None = None,
        valid: Bool[Tensor, "_ _ _ _"] | None = None,
    ) -> tuple[Tensor, StreamState]:
        """Take in the next frame of a stream and forecast the one after it.

        Args:
            frame: ``B C H W`` with the channels of a context's frame, or the state's channels only; None: no frame
                came, and the forecast stands in for it.
            state: where the stream stands.
            known: ``B K H W``, the known inputs of ``frame``; None: those in ``frame``, or those already announced.
            next_known: ``B K H W``, the known inputs of the frame that is forecast; None: those of ``frame`` are held.
            base: ``B C H W``, the forecast from which the model forecasts the departure.
            valid: ``B C H W``, bool: where the state's channels of ``frame`` have a value. From now on attention may
                look there, too.

        Returns:
            The forecast ``B C H W`` of the frame after ``frame``, and the stream's new state.

        Raises:
            ValueError: if a shape does not fit, or there is a base and the model sets its level itself.
        """
        batch, _, height, width = state.forecast.shape
        _check("known inputs", known, (batch, self.known_channels, height, width))
        _check("next known inputs", next_known, (batch, self.known_channels, height, width))
        self._check_base(base, (batch, self.state_channels, height, width))
        if frame is not None and frame.shape[1] == self.in_channels:
            frame, announced = frame[:, : self.fed_channels], frame[:, self.fed_channels :]
        else:
            _check("frame", frame, (batch, self.fed_channels, height, width))
            announced = state.next_known
        known = announced if known is None else known
        keys = state.keys
        if frame is not None and keys is not None and valid is not None:
            keys = keys | self._patched(self._fed(valid)[:, None])
        with sequence(self), masked_keys(self.network, keys):
            if frame is None:
                x, memory = self._forecast_as_input(state._replace(next_known=known))
                rollout = self.network.stand_in(x, state.rollout)
            else:
                z, memory = self.nonstationary.encode(frame, state.memory, self._fed(valid))
                rollout, _ = self.network.absorb(self._input(z, known), state.rollout)
            state = self._forecast(rollout, memory, known, next_known, base)._replace(keys=keys)
        return state.forecast, state

    def rollout(
        self,
        frames: Frames,
        context_steps: int,
        *,
        known: AnyFrames | None = None,
        base: AnyFrames | None = None,
        tokens: Bool[Tensor, "_ _"] | None = None,
        valid: AnyValid | None = None,
        truncate: int | None = None,
        recompute: Level = "none",
    ) -> RolloutOut:
        """Forecasts for training, where the whole sequence is at hand.

        Args:
            frames: ``B T C H W``, the state's channels of the context and of what follows.
            context_steps: frames of the context.
            known: ``B T K H W``, the known inputs.
            base: ``B T-1 C H W``, the forecast of each frame from the second one, from which the model forecasts the
                departure.
            tokens: ``B T-2``, for each input from the second one: True shows the true frame, False the forecast; None
                shows the context and forecasts. Only for rollouts that predict every next frame.
            valid: ``B T C H W``, bool: where ``frames`` have a value; None: everywhere. Of what follows the context it
                counts where frames are shown.
            truncate: time steps after which the gradient stops on its way back through states and forecasts; None: it
                goes back to the first frame.
            recompute: what the backward pass computes a second time, to keep less for it; the numbers are the same.

        Raises:
            ValueError: if a shape does not fit, tokens are given to a rollout that cannot use them, or there is a base
                and the model sets its level itself.
        """
        batch, steps, _, height, width = frames.shape
        if not 1 <= context_steps < steps:
            raise ValueError(f"the context has 1 to {steps - 1} of {steps} frames, received {context_steps}")
        if self.known_channels and known is None:
            raise ValueError(f"the model needs {self.known_channels} known input channels for each frame")
        _check("known inputs", known, (batch, steps, self.known_channels, height, width))
        self._check_base(base, (batch, steps - 1, self.state_channels, height, width))
        _check("tokens", tokens, (batch, steps - 2))
        if tokens is not None and not self.network.predicts_context:
            raise ValueError("an encoder-forecaster is shown no frame after the context: it takes no sampling tokens")
        keys = self._keys(frames[:, :context_steps], None if valid is None else valid[:, :context_steps])
        if truncate is not None and truncate < 1:
            raise ValueError(f"the gradient goes back at least 1 step, received {truncate}")
        with sequence(self), masked_keys(self.network, keys), recomputing(recompute, self.network, keys):
            return self._unroll(self._fed(frames), context_steps, known, base, tokens, self._fed(valid), truncate)

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
                frames[:, t], _at(valid, t), shown, _at(known, t), _at(known, t + 1), _at(base, t), t < context_steps
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
        state, aux = take_in(_join(patches.fold(z), at.known), state)
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
            z, memory = self.nonstationary.encode(frames[:, t], memory, _at(valid, t))
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

    def _frame(self, said: Tensor, memory: Tensors, base: Tensor | None) -> Tensor:
        """The full forecast on the data's grid: what the head said of the next frame, decoded, on top of the base."""
        frame = self.nonstationary.decode(self._fed(said), memory)
        if self.fed_channels < self.state_channels:
            frame = torch.cat([frame, said[:, self.fed_channels :]], dim=1)
        return frame if base is None else base + frame

    def _forecast_as_input(self, stream: StreamState) -> tuple[Tensor, Tensors]:
        """The network's input where the stream's forecast stands in for the frame, and the memory after it."""
        z, memory = self.nonstationary.feed(self._fed(stream.forecast), stream.memory)
        return self._input(z, stream.next_known), memory

    def _input(self, z: Tensor, known: Tensor) -> Tensor:
        patches = Patches(self.patch, *z.shape[-2:])
        return _join(patches.fold(z), patches.fold(known))

    def _keys(self, context: Tensor, valid: Tensor | None) -> Tensor | None:
        """What attention may look at, ``B h w`` in patches; None where that is everything, or nothing attends."""
        if valid is None or not any(isinstance(part, KeyMask) for part in self.network.modules()):
            return None
        batch, steps, _, height, width = context.shape
        _check("valid", valid, (batch, steps, valid.shape[2], height, width))
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
        _check("base", base, shape)


def _join(frame: Tensor, known: Tensor | None) -> Tensor:
    return frame if known is None or not known.shape[1] else torch.cat([frame, known], dim=1)


def _at(frames: Tensor | None, t: int) -> Tensor | None:
    return None if frames is None else frames[:, t]


def _check(what: str, value: Tensor | None, shape: tuple[int, ...]) -> None:
    if value is not None and tuple(value.shape) != shape:
        raise ValueError(f"{what}: expected the shape {shape}, received {tuple(value.shape)}")
