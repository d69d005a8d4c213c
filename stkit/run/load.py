"""A trained forecaster from its run directory: physical units in, physical units out.

Axes: ``B`` batch, ``T`` time, ``S`` variables of the state, ``C`` variables that are forecast (the state, then the
targets), ``F`` forcing, ``K`` known inputs, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from stkit.data.calendar import Times
from stkit.data.pipeline import Pipeline
from stkit.data.source import Variable
from stkit.errors import CheckpointError, DataError
from stkit.recipe import Recipe
from stkit.recipe import load as load_recipe
from stkit.run.directory import RunDirectory
from stkit.stacks.build import build_forecaster
from stkit.stacks.captured import Forecasts
from stkit.stacks.forecaster import Forecaster, StreamState
from stkit.train import checkpoint as checkpoints


class TrainedStream(NamedTuple):
    """Where a stream of observations stands."""

    forecast: Tensor
    """``B C H W``, physical units: the forecast of the next frame; NaN where the variable does not count."""
    model: StreamState
    """The model's own state."""
    observed: Tensor
    """``B T S H W``, physical units: the last frames that came."""
    times: Times | None
    """``B T``: their times."""
    missed: int
    """Frames since then that did not come."""
    forcing: Tensor | None = None
    """``B 1 F H W``, physical units: of the frame that is forecast; None where the model takes none."""


LEADS_AT_A_TIME = 16
"""Frames of a long forecast that are on the device at a time."""


class TrainedForecaster:
    """A model with the pipeline it was trained with.

    Example:
        >>> forecaster = stkit.load("runs/predrnn-sst/20250101-120000")
        >>> forecast = forecaster(context, horizon=3, times=times)      # B T C H W [degC] -> B 3 C H W [degC]
        >>> stream = forecaster.warm(context, times)
        >>> forecast, stream = forecaster.step(frame, stream)

    Attributes:
        forecaster: the module itself, in model space.
        pipeline: physical units to model space and back.
        recipe: what it was trained by.
        trained_steps: optimiser steps of the weights.
    """

    def __init__(self, forecaster: Forecaster, pipeline: Pipeline, recipe: Recipe, trained_steps: int) -> None:
        self.forecaster = forecaster.eval()
        self._by_graphs = Forecasts(forecaster, at_once=False)
        self.pipeline = pipeline
        self.recipe = recipe
        self.trained_steps = trained_steps

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the forecasts come out."""
        return next(self.forecaster.parameters()).device

    def to(self, device: torch.device | str) -> TrainedForecaster:
        """Move it; returns itself."""
        self.forecaster.to(device)
        self._by_graphs = Forecasts(self.forecaster, at_once=False)
        self.pipeline = self.pipeline.to(device)
        return self

    @torch.no_grad()
    def __call__(
        self,
        context: Tensor | ArrayLike,
        horizon: int,
        *,
        times: ArrayLike | None = None,
        target_times: ArrayLike | None = None,
        forcing: Tensor | ArrayLike | None = None,
    ) -> Tensor:
        """Forecast ``horizon`` frames: ``B horizon C H W`` in physical units, NaN where a variable does not count.

        Args:
            context: ``B T S H W`` (or ``T S H W``: a batch of one), physical units, NaN where there is no value.
            horizon: frames to forecast; any number.
            times: of the context, ``B T`` or ``T``, what NumPy reads as datetime64; null only for fields without times.
            target_times: ``B horizon`` or ``horizon``; null: the regular steps after the context.
            forcing: ``B T+horizon F H W`` (or without ``B``), physical units, of the context and of the frames to
                forecast; null only where the model takes none.

        Raises:
            DataError: the grid or the variables are not those of the training, or times or the forcing are missing.
        """
        fields, when = self._observed(context, times)
        ahead = self._times(target_times, fields.shape[0], horizon, "target_times")
        if ahead is None and when is not None:
            ahead = self.pipeline.target_times(when, horizon)
        given, coming = self._forcing(forcing, fields, horizon)
        known = self._known(ahead, fields.shape[0], horizon, coming)
        base = self.pipeline.base(self.pipeline.with_targets(fields), when, horizon, ahead)
        inside, valid = self._inputs(fields, when, given)
        said = self._by_graphs(inside, horizon, known=known, base=base, valid=valid)
        return self.pipeline.inverse(said, ahead)

    @torch.no_grad()
    def pieces(
        self,
        context: Tensor | ArrayLike,
        horizon: int,
        *,
        at_a_time: int = LEADS_AT_A_TIME,
        after: int = 0,
        times: ArrayLike | None = None,
        target_times: ArrayLike | None = None,
        forcing: Tensor | ArrayLike | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """The forecast of a call piece by piece, so that the device holds a few frames however long the horizon is.

        Where the model forecasts the departure from a baseline, the baseline's forecast is there as a whole.

        Args:
            context: as in a call.
            horizon: as in a call.
            at_a_time: most frames of a piece.
            after: frames at the beginning that are forecast but not given.
            times: as in a call.
            target_times: as in a call.
            forcing: as in a call.

        Yields:
            Number of the piece's first frame, from 0 for the first one after ``after``, and ``B frames C H W``.

        Raises:
            DataError: as a call.
        """
        fields, when = self._observed(context, times)
        batch = fields.shape[0]
        ahead = self._times(target_times, batch, horizon, "target_times")
        if ahead is None and when is not None:
            ahead = self.pipeline.target_times(when, horizon)
        given, coming = self._forcing(forcing, fields, horizon)
        base = self.pipeline.base(self.pipeline.with_targets(fields), when, horizon, ahead)
        inside, valid = self._inputs(fields, when, given)
        cuts = sorted({*range(0, after, at_a_time), *range(after, horizon, at_a_time), horizon})
        if len(cuts) == 2 and not after:  # a single piece, as most forecasts are: by a graph, as a call
            known = self._known(ahead, batch, horizon, coming)
            yield 0, self.pipeline.inverse(self._by_graphs(inside, horizon, known=known, base=base, valid=valid), ahead)
            return
        state: StreamState | None = None
        for first, stop in itertools.pairwise(cuts):
            when_said = None if ahead is None else ahead[:, first:stop]
            known = self._known(when_said, batch, stop - first, None if coming is None else coming[:, first:stop])
            level = None if base is None else base[:, first:stop]
            said: list[Tensor] = []
            if state is None:
                level_of_first = None if level is None else level[:, 0]
                state = self.forecaster.warm(inside, next_known=known[:, 0], base=level_of_first, valid=valid)
                said.append(state.forecast[:, None])
                known, level = known[:, 1:], None if level is None else level[:, 1:]
            if known.shape[1]:
                more, state = self.forecaster.go_on(state, known.shape[1], known=known, base=level)
                said.append(more)
            if first >= after:
                yield first - after, self.pipeline.inverse(torch.cat(said, dim=1), when_said)

    @torch.no_grad()
    def warm(
        self,
        context: Tensor | ArrayLike,
        times: ArrayLike | None = None,
        *,
        forcing: Tensor | ArrayLike | None = None,
    ) -> TrainedStream:
        """Take in a context, as in a call; ``.forecast`` is the next frame's.

        ``forcing`` is that of the context and of the next frame: ``B T+1 F H W``.

        Raises:
            DataError: as a call.
        """
        fields, when = self._observed(context, times)
        ahead = None if when is None else self.pipeline.target_times(when, 1)
        given, coming = self._forcing(forcing, fields, 1)
        known = self._known(ahead, fields.shape[0], 1, coming)
        base = self.pipeline.base(self.pipeline.with_targets(fields), when, 1, ahead)
        inside, valid = self._inputs(fields, when, given)
        state = self.forecaster.warm(
            inside, next_known=known[:, 0], base=None if base is None else base[:, 0], valid=valid
        )
        return self._stream(state, fields, when, 0, coming)

    @torch.no_grad()
    def ahead(self, state: TrainedStream, horizon: int, *, forcing: Tensor | ArrayLike | None = None) -> Tensor:
        """Forecast ``horizon`` frames from where a stream stands: ``B horizon C H W``, physical units. It stays.

        It is the forecast of a call whose context is every frame since the stream was warmed, as long as each cell has
        a value in the frames that the stream keeps. ``forcing`` is that of these frames, ``B horizon F H W``.
        """
        batch, missed = state.observed.shape[0], state.missed
        times = None if state.times is None else self.pipeline.target_times(state.times, missed + horizon)
        base = self.pipeline.base(self.pipeline.with_targets(state.observed), state.times, missed + horizon, times)
        after = None if times is None else times[:, missed:]
        coming = None if forcing is None else self._fields(forcing, self.pipeline.forcing, "forcing")
        said = self.forecaster.ahead(
            state.model,
            horizon,
            known=self._known(after, batch, horizon, coming),
            base=None if base is None else base[:, missed:],
        )
        return self.pipeline.inverse(said, after)

    @torch.no_grad()
    def step(
        self,
        frame: Tensor | ArrayLike | None,
        state: TrainedStream,
        time: ArrayLike | None = None,
        *,
        forcing: Tensor | ArrayLike | None = None,
    ) -> tuple[Tensor, TrainedStream]:
        """Take in the next frame of a stream, ``B S H W`` in physical units, and forecast the one after it.

        Args:
            frame: null: it did not come, and its forecast stands in for it.
            state: where the stream stands.
            time: of the frame, one for all or ``B``; null: the regular step after the frames so far.
            forcing: ``B F H W``, physical units, of the frame that is forecast; null only where the model takes none.

        Returns:
            The forecast ``B C H W`` of the frame after ``frame``, and the stream's new state.

        Raises:
            DataError: as a call.
        """
        observed, times, missed = state.observed, state.times, state.missed
        now = None if times is None else self.pipeline.target_times(times, missed + 1)[:, -1:]
        if now is not None and time is not None:
            now = np.broadcast_to(np.asarray(time, dtype="datetime64[ns]").reshape(-1, 1), now.shape)
        inside = valid = None
        if frame is None:
            missed += 1
        else:
            came = self._state_fields(_as_frames(frame))
            inside, valid = (part[:, 0] for part in self._observe(came, now))
            kept = self.recipe.data.input_steps - 1
            observed = torch.cat([observed[:, observed.shape[1] - min(kept, observed.shape[1]) :], came], dim=1)
            if times is not None and now is not None:
                times = np.concatenate([times, now], axis=1)[:, -observed.shape[1] :]
            missed = 0
        ahead = None if times is None else self.pipeline.target_times(times, missed + 1)
        base = self.pipeline.base(self.pipeline.with_targets(observed), times, missed + 1, ahead)
        batch = observed.shape[0]
        coming = None if forcing is None else self._fields(_as_frames(forcing), self.pipeline.forcing, "forcing")
        _, model = self.forecaster.step(
            inside,
            state.model,
            known=self._known(now, batch, 1, state.forcing)[:, 0],
            next_known=self._known(None if ahead is None else ahead[:, -1:], batch, 1, coming)[:, 0],
            base=None if base is None else base[:, -1],
            valid=valid,
        )
        stream = self._stream(model, observed, times, missed, coming)
        return stream.forecast, stream

    def _stream(
        self, model: StreamState, observed: Tensor, times: Times | None, missed: int, forcing: Tensor | None
    ) -> TrainedStream:
        ahead = None if times is None else self.pipeline.target_times(times, missed + 1)[:, -1:]
        forecast = self.pipeline.inverse(model.forecast[:, None], ahead)[:, 0]
        return TrainedStream(forecast, model, observed, times, missed, forcing)

    def _observed(self, context: Tensor | ArrayLike, times: ArrayLike | None) -> tuple[Tensor, Times | None]:
        fields = self._state_fields(context)
        when = self._times(times, fields.shape[0], fields.shape[1], "times")
        if when is None and self.pipeline.step is not None:
            raise DataError("the model was trained on fields with times: give the times of the context")
        return fields, when if self.pipeline.step is not None else None

    def _state_fields(self, fields: Tensor | ArrayLike) -> Tensor:
        return self._fields(fields, self.pipeline.variables[: self.pipeline.state_channels], "fields")

    def _fields(self, fields: Tensor | ArrayLike, variables: Sequence[Variable], what: str) -> Tensor:
        """``B T _ H W`` of these variables on the training's grid; without ``B`` a batch of one."""
        given = _tensor(fields)
        if given.ndim == 4:
            given = given[None]
        grid, names = self.pipeline.grid, [variable.name for variable in variables]
        if given.ndim != 5 or given.shape[1] < 1 or given.shape[2:] != (len(names), *grid.shape):
            raise DataError(
                f"expected {what} B T {len(names)} {grid.height} {grid.width} (the variables {', '.join(names)} on the "
                f"grid of the training), received the shape {tuple(given.shape)}"
            )
        return given.to(self.device, torch.float32)

    def _forcing(
        self, forcing: Tensor | ArrayLike | None, fields: Tensor, horizon: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """That of the context, and that of the frames to forecast."""
        if forcing is None:
            return None, None
        if not self.pipeline.forcing:
            raise DataError("the model takes no forcing: leave it out")
        given = self._fields(forcing, self.pipeline.forcing, "forcing")
        batch, known = fields.shape[:2]
        if given.shape[:2] != (batch, known + horizon):
            raise DataError(
                f"forcing: expected {batch} x {known + horizon} frames, those of the context and those to forecast, "
                f"received {given.shape[0]} x {given.shape[1]}"
            )
        return given[:, :known], given[:, known:]

    def _times(self, times: ArrayLike | None, batch: int, count: int, what: str) -> Times | None:
        if times is None:
            return None
        given: NDArray[np.datetime64] = np.asarray(times, dtype="datetime64[ns]")
        if given.shape not in ((count,), (batch, count)):
            raise DataError(f"{what}: expected {count} times, or {batch} x {count}, received the shape {given.shape}")
        return np.broadcast_to(given, (batch, count))

    def _known(self, times: Times | None, batch: int, count: int, forcing: Tensor | None) -> Tensor:
        known = self.pipeline.known(times, count, forcing=forcing)
        return known.expand(batch, *known.shape[-4:])

    def _observe(self, fields: Tensor, times: Times | None) -> tuple[Tensor, Tensor]:
        """The state in model space, and where it has a value."""
        frames, valid = self.pipeline.observe(self.pipeline.with_targets(fields), times)
        state = self.pipeline.state_channels
        return frames[:, :, :state], valid[:, :, :state]

    def _inputs(self, fields: Tensor, times: Times | None, forcing: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the model is given, and where its fields have a value."""
        known = self._known(times, fields.shape[0], fields.shape[1], forcing)
        frames, valid = self._observe(fields, times)
        return torch.cat([frames, known], dim=2), valid


def _tensor(fields: Tensor | ArrayLike) -> Tensor:
    return fields if isinstance(fields, Tensor) else torch.as_tensor(np.asarray(fields))


def _as_frames(frame: Tensor | ArrayLike) -> Tensor:
    """A frame ``B _ H W`` as a sequence of one."""
    return _tensor(frame)[:, None]


def load(
    path: str | Path,
    *,
    weights: Literal["best", "latest"] = "best",
    device: torch.device | str | None = None,
) -> TrainedForecaster:
    """The trained forecaster of a run. Nothing is unpickled, so that a run from elsewhere can be loaded.

    From now on the process counts denormal numbers as zero, as in training: with them a CPU is several times slower.

    Args:
        path: the run directory, or one checkpoint in it.
        weights: the best ones on the validation part, or the latest; averaged ones where the run has them.
        device: where to; null: the CPU.

    Raises:
        UsageError: it is no run directory.
        CheckpointError: there is no checkpoint, or it is damaged, or it belongs to another recipe.
    """
    torch.set_flush_denormal(True)  # before the threads start
    place = Path(path)
    chosen: Path | None = None
    if (place / "manifest.json").is_file():
        chosen, place = place, place.parent.parent
    run = RunDirectory.open(place)
    loaded = load_recipe(str(run.path))
    if chosen is None:
        chosen = checkpoints.find(run.checkpoints, weights) or checkpoints.find(run.checkpoints, "latest")
    if chosen is None:
        raise CheckpointError(f"{run.checkpoints}: no checkpoint yet")
    saved = checkpoints.load(chosen, recipe_hash=loaded.hash, parts=("model", "ema"))
    pipeline = Pipeline.load(run.pipeline)
    forecaster = build_forecaster(
        loaded.recipe.model,
        in_channels=pipeline.state_channels + pipeline.known_channels,
        out_channels=pipeline.forecast_channels,
        known_channels=pipeline.known_channels,
        grid=pipeline.grid.shape,
    )
    part = "ema" if saved.tensors.get("ema") else "model"
    found = saved.tensors.get(part, {})
    checkpoints.check_shapes(found, forecaster.state_dict(), chosen / f"{part}.safetensors")
    forecaster.load_state_dict(found)
    trained = TrainedForecaster(forecaster, pipeline, loaded.recipe, saved.step)
    return trained.to(device) if device is not None else trained
