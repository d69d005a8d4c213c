"""What users hold: frames in, frames out.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width, all in the grid of the data.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stkit.cells.attend import masked_keys
from stkit.cells.gates import sequence
from stkit.stacks.framing import check_shape, frame_at
from stkit.stacks.recompute import Level, recomputing
from stkit.stacks.streaming import Streaming, StreamState
from stkit.stacks.training_rollout import RolloutOut, Unrolling

__all__ = ["Forecaster", "RolloutOut", "StreamState"]

Frame = Float[Tensor, "B _ H W"]
Frames = Float[Tensor, "B _ _ H W"]
AnyFrame = Float[Tensor, "_ _ _ _"]
AnyFrames = Float[Tensor, "_ _ _ _ _"]
AnyValid = Bool[Tensor, "_ _ _ _ _"]


class Forecaster(Streaming, Unrolling):
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
        check_shape("known inputs", known, (batch, horizon, self.known_channels, height, width))
        self._check_base(base, (batch, horizon, self.state_channels, height, width))
        keys = self._keys(context, valid)
        with sequence(self), masked_keys(self.network, keys):
            stream = self._absorb(context, valid, frame_at(known, 0), frame_at(base, 0))
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
        check_shape("known inputs", known, (batch, horizon, self.known_channels, height, width))
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
        check_shape("known inputs", known, (batch, steps, self.known_channels, height, width))
        self._check_base(base, (batch, steps, self.state_channels, height, width))
        forecasts = []
        with sequence(self), masked_keys(self.network, state.keys):
            for at in range(steps):
                state = self._next(state, frame_at(known, at), frame_at(base, at))._replace(keys=state.keys)
                forecasts.append(state.forecast)
        return torch.stack(forecasts, dim=1), state

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
        check_shape("next known inputs", next_known, (batch, self.known_channels, height, width))
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
        check_shape("known inputs", known, (batch, self.known_channels, height, width))
        check_shape("next known inputs", next_known, (batch, self.known_channels, height, width))
        self._check_base(base, (batch, self.state_channels, height, width))
        if frame is not None and frame.shape[1] == self.in_channels:
            frame, announced = frame[:, : self.fed_channels], frame[:, self.fed_channels :]
        else:
            check_shape("frame", frame, (batch, self.fed_channels, height, width))
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
        check_shape("known inputs", known, (batch, steps, self.known_channels, height, width))
        self._check_base(base, (batch, steps - 1, self.state_channels, height, width))
        check_shape("tokens", tokens, (batch, steps - 2))
        if tokens is not None and not self.network.predicts_context:
            raise ValueError("an encoder-forecaster is shown no frame after the context: it takes no sampling tokens")
        keys = self._keys(frames[:, :context_steps], None if valid is None else valid[:, :context_steps])
        if truncate is not None and truncate < 1:
            raise ValueError(f"the gradient goes back at least 1 step, received {truncate}")
        with sequence(self), masked_keys(self.network, keys), recomputing(recompute, self.network, keys):
            return self._unroll(self._fed(frames), context_steps, known, base, tokens, self._fed(valid), truncate)
