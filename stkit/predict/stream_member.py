"""One run in a stream: the state that it keeps from frame to frame, and what it says from there.

Axes: ``T`` time, ``M`` members, ``L`` lead times, ``S`` variables of the state, ``C`` variables that are forecast,
``F`` forcing, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stkit.data.calendar import Times
from stkit.data.source import Grid
from stkit.evaluate.forecast_layout import Member
from stkit.predict.context import steps_between
from stkit.predict.members import told
from stkit.predict.region import on_region
from stkit.predict.stream_forcing import StreamForcing
from stkit.run.load import TrainedForecaster, TrainedStream


class StreamMember:
    """A run that takes in the frames of a stream.

    Args:
        run: the run directory.
        forecaster: its model, as it was trained.
        lags: from how many of its latest states it forecasts.
        is_fresh: whether each state is made of the last frames alone.
        forcing: of the model; None where it takes none.
    """

    def __init__(
        self, run: Path, forecaster: TrainedForecaster, lags: int, *, is_fresh: bool, forcing: StreamForcing | None
    ) -> None:
        self.run, self.lags, self.is_fresh, self.forcing = run, lags, is_fresh, forcing
        self.trained = self.forecaster = forecaster
        self.region = ""
        self.states: list[TrainedStream] = []

    @property
    def is_ready(self) -> bool:
        """Whether it has as many states as it forecasts from."""
        return len(self.states) == self.lags

    @property
    def told(self) -> list[Member]:
        """For the file."""
        return [told(self.run, self.trained, lag) for lag in range(self.lags)]

    def move(self, grid: Grid, seen: NDArray[np.bool_]) -> None:
        """Go over to the region that the frames are of.

        Raises:
            DataError: it does not fit, or the forcing is of another one.
        """
        moved = on_region(self.trained, grid, seen, "the frames")
        self.forecaster, self.region = moved.forecaster, moved.words
        if self.forcing is not None:
            self.forcing.check_grid(grid)

    def warm(self, frames: Tensor, times: Times | None) -> None:
        """Begin from frames ``T S H W``."""
        self.states = [self._warmed(frames, times)]

    def step(self, frame: Tensor | None, time: np.datetime64 | None = None) -> None:
        """Take in a frame ``1 S H W``; None: it did not come, and its forecast stands in for it."""
        state, forcing = self.states[-1], None
        if self.forcing is not None and state.times is not None:
            times = self.forecaster.pipeline.target_times(state.times, state.missed + 2)[0]
            now = times[-2:-1] if time is None else np.array([time])
            forcing = self._tensor(times[-1:] if time is None else self._following(now, 1))
            state = state._replace(forcing=self._tensor(now)[None])
        _, state = self.forecaster.step(frame, state, time, forcing=forcing)
        self._add(self._from_last_frames(state) if self.is_fresh and frame is not None else state)

    def ahead(self, horizon: int) -> Tensor:
        """What its states say of the same ``horizon`` frames, the latest state first: ``M L C H W``."""
        said = []
        for lag, state in enumerate(reversed(self.states)):
            forcing = None
            if self.forcing is not None and state.times is not None:
                times = self.forecaster.pipeline.target_times(state.times, state.missed + horizon + lag)[0]
                forcing = self._tensor(times[state.missed :])[None]
            said.append(self.forecaster.ahead(state, horizon + lag, forcing=forcing)[0, lag:])
        return torch.stack(said)

    def _add(self, state: TrainedStream) -> None:
        self.states = [*self.states, state][-self.lags :]

    def _warmed(self, frames: Tensor, times: Times | None) -> TrainedStream:
        if self.forcing is None or times is None:
            return self.forecaster.warm(frames, times)
        every = np.concatenate([times, self._following(times, 1)])
        return self.forecaster.warm(frames, times, forcing=self._tensor(every))

    def _from_last_frames(self, state: TrainedStream) -> TrainedStream:
        """A state from the last frames alone, where none is missing among them."""
        times = None if state.times is None else np.asarray(state.times)[0]
        if times is not None and not self._is_regular(times):
            return state
        return self._warmed(state.observed[0], times)

    def _is_regular(self, times: Times) -> bool:
        step = self.trained.pipeline.step
        assert step is not None, "frames have times"
        return all(steps_between(one, other, step) == 1 for one, other in itertools.pairwise(times))

    def _following(self, times: Times, count: int) -> Times:
        return self.forecaster.pipeline.target_times(times, count)

    def _tensor(self, times: Times) -> Tensor:
        """The forcing of some times: ``T F H W``."""
        assert self.forcing is not None, "the model takes some"
        return torch.from_numpy(self.forcing.at(times, "the stream")).to(self.forecaster.device)
