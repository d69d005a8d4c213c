"""Takes in the frames of a stream, one after the other, and writes a forecast after each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stkit.data.calendar import Times, as_text
from stkit.data.source import Grid
from stkit.errors import UsageError
from stkit.evaluate.forecast_file import forecast_file
from stkit.evaluate.forecast_layout import Layout
from stkit.predict.arrivals import Frame
from stkit.predict.context import step_words, steps_between
from stkit.predict.snapshot import Snapshot
from stkit.predict.stream_forcing import ForcingLate
from stkit.predict.stream_member import StreamMember
from stkit.predict.stream_options import Followed, Streamed, StreamOptions
from stkit.run.directory import RunDirectory
from stkit.run.record import command, now

LOG = logging.getLogger("stkit.predict")

STATE = "state.safetensors"
"""The snapshot in the output folder."""

_PLAIN = str.maketrans("", "", "-:")


class Follower:
    """One stream: what has come so far, and what is written of it.

    Args:
        members: the runs; all are given the same frames.
        out: the folder for forecasts.
        options: how.
        told: called with each forecast that was written.

    Raises:
        UsageError: the folder holds something else.
    """

    def __init__(
        self,
        members: Sequence[StreamMember],
        out: Path,
        options: StreamOptions,
        told: Callable[[Streamed], None],
    ) -> None:
        self.members = tuple(members)
        self.out, self.options, self.told = out, options, told
        self.pipeline = members[0].trained.pipeline
        self.horizon = options.horizon or self.pipeline.horizon
        self.needed = max(member.trained.pipeline.input_steps for member in members)
        self.followed = Followed()
        self.grid: Grid | None = None
        self.snapshot = _opened(out, _identity(members, options.lags), members[0].trained.device)
        for member, states in zip(self.members, self.snapshot.states, strict=False):
            member.states = states
        for member, kept in zip(self.members, self.snapshot.forcing, strict=False):
            if member.forcing is not None and kept is not None:
                member.forcing.restore(*kept)

    def check_forcing(self, times: Times | None) -> None:
        """Refuse frames whose forecasts lack forcing.

        Raises:
            ForcingLate: it has not come yet.
        """
        if times is None or (self.snapshot.last is not None and times[-1] <= self.snapshot.last):
            return
        for member in self.members:
            if member.forcing is not None:
                member.forcing.refresh()
                member.forcing.at(self._reach(times), f"a forecast of {self.horizon} steps")

    def take(self, frame: Frame) -> None:
        """Take in a frame, and forecast if there are enough."""
        snapshot = self.snapshot
        problem = self._problem(frame)
        missing = 0
        if problem is None and snapshot.last is not None and frame.time is not None:
            steps = steps_between(snapshot.last, frame.time, self._step)
            missing = 0 if steps is None else steps - 1
            problem = self._out_of_order(frame, steps)
        if problem is not None:
            self.followed.refused += 1
            LOG.warning("%s: %s: the frame is left out", frame.file, problem)
        else:
            self._keep_forcing(frame)
            self._gap(frame, missing)
            self._add(frame)
            snapshot.count += 1
            snapshot.last = frame.time if self.pipeline.step is not None else None
            self.followed.frames += 1
            if all(member.is_ready for member in self.members):
                self._write(frame, missing)
        if frame.last_of_file:
            snapshot.taken.add(frame.file)
            self.save()

    def save(self) -> None:
        """Write the state into the folder."""
        self.snapshot.states = [member.states for member in self.members]
        self.snapshot.forcing = [None if one.forcing is None else one.forcing.kept for one in self.members]
        self.snapshot.save(self.out / STATE)

    @property
    def _step(self) -> np.timedelta64:
        step = self.pipeline.step
        assert step is not None, "frames have times"
        return step

    @property
    def _is_warm(self) -> bool:
        return bool(self.members[0].states)

    def _reach(self, times: Times) -> Times:
        """The times of some frames, and of those to forecast."""
        return np.concatenate([times, self.pipeline.target_times(times, self.horizon)])

    def _problem(self, frame: Frame) -> str | None:
        """Why a frame cannot be taken in, whenever it comes."""
        pipeline = self.pipeline
        if pipeline.step is not None and frame.time is None:
            return "has no time that can be understood, but the model was trained on fields with times"
        if self.grid is None:
            self._see(frame.grid)
        assert self.grid is not None, "it has been seen"
        difference = self.grid.difference(frame.grid)
        if difference:
            return f"its grid differs from that of the frames before: {difference}"
        for channel, variable in enumerate(pipeline.variables[: pipeline.state_channels]):
            if not np.isfinite(frame.fields[:, channel]).any():
                return f"{variable.name!r} is missing (NaN) at every cell"
        return None

    def _out_of_order(self, frame: Frame, steps: int | None) -> str | None:
        when, last = as_text(frame.time), as_text(self.snapshot.last)
        if steps is None:
            return f"{when} lies between two steps of one {step_words(self._step)} after {last}"
        if steps < 1:
            return f"{when} comes {'twice' if when == last else 'out of order'}, after {last}"
        return None

    def _keep_forcing(self, frame: Frame) -> None:
        for member in self.members:
            if member.forcing is not None and frame.time is not None:
                member.forcing.keep(self._reach(np.array([frame.time])), frame.time)

    def _gap(self, frame: Frame, missing: int) -> None:
        """Frames before this one did not come."""
        if missing == 0:
            return
        snapshot = self.snapshot
        between = f"{missing} frame{'s' if missing > 1 else ''} before {as_text(frame.time)} did not come"
        if self._is_warm and missing <= self.options.max_gap:
            try:
                for member in self.members:
                    for _ in range(missing):
                        member.step(None)
            except ForcingLate as error:
                between = f"{between}, and neither did their forcing ({error})"
            else:
                LOG.warning("%s: forecasts stand in for them", between)
                self.followed.stood_in += missing
                return
        if self._is_warm or snapshot.pending:
            needed = self.needed + self.options.lags - 1
            LOG.warning("%s: starting again, with a forecast after %d frames", between, needed)
            self.followed.restarts += 1
        snapshot.pending, snapshot.times = [], []
        for member in self.members:
            member.states = []

    def _add(self, frame: Frame) -> None:
        snapshot = self.snapshot
        if self._is_warm:
            for member in self.members:
                member.step(torch.from_numpy(frame.fields), frame.time)
            return
        snapshot.pending.append(torch.from_numpy(frame.fields[0]))
        if frame.time is not None:
            snapshot.times.append(frame.time)
        if len(snapshot.pending) < self.needed:
            return
        context = torch.stack([kept.cpu() for kept in snapshot.pending])
        times = np.array(snapshot.times) if self.pipeline.step is not None else None
        assert self.grid is not None, "a frame has come"
        if snapshot.seen is None and any(one.trained.pipeline.grid.difference(self.grid) for one in self.members):
            self._move(context.isfinite().any(dim=0).numpy())
        for member in self.members:
            member.warm(context, times)
        snapshot.pending, snapshot.times = [], []

    def _see(self, grid: Grid) -> None:
        """The grid of the frames, of which the first since the start has come."""
        self.grid = grid
        for member in self.members:
            if member.forcing is not None:
                member.forcing.check_grid(grid)
        if self.snapshot.seen is not None:
            self._move(self.snapshot.seen)

    def _move(self, seen: NDArray[np.bool_]) -> None:
        """Go over to the region that the frames are of."""
        assert self.grid is not None, "a frame has come"
        for member in self.members:
            member.move(self.grid, seen)
        self.snapshot.seen = seen

    def _write(self, frame: Frame, missing: int) -> None:
        pipeline, start = self.pipeline, None if self.snapshot.last is None else np.array([self.snapshot.last])
        said = torch.cat([member.ahead(self.horizon) for member in self.members]).cpu().numpy()
        number = self.snapshot.count - 1
        layout = Layout(
            variables=pipeline.variables,
            grid=frame.grid,
            windows=1,
            leads=self.horizon,
            step=pipeline.step,
            starts=start,
            valid=None if start is None else pipeline.target_times(start[None], self.horizon),
            numbers=(number,),
            members=tuple(told for member in self.members for told in member.told) if len(said) > 1 else None,
            statistics=self.options.statistics,
            by_valid_time=self.options.by_valid_time and start is not None,
        )
        name = f"{number:06d}" if start is None else np.datetime_as_string(start[0], unit="s").translate(_PLAIN)
        path = self.out / f"forecast-{name}.nc"
        with forecast_file(path, layout, self._attributes(missing)) as file:
            file.write(0, said[:, None] if layout.members is not None else said)
        self.followed.forecasts += 1
        self.told(
            Streamed(
                out=str(path),
                start=str(number) if start is None else as_text(start[0]),
                horizon=self.horizon,
                stood_in=missing,
                members=len(said),
            )
        )

    def _attributes(self, missing: int) -> dict[str, str]:
        trained = min(member.trained.pipeline.horizon for member in self.members)
        steps = sorted({member.trained.trained_steps for member in self.members})
        frames = "frame" if missing == 1 else "frames"
        said = [f"{missing} {frames} just before the start did not come; forecasts stand in"] if missing else []
        if self.horizon > trained:
            said.append(f"lead times beyond {trained} steps are longer than the model was trained for")
        said += sorted({member.region for member in self.members if member.region})
        return {
            "title": "Forecast from a stream of frames",
            "source": f"stkit-torch {version('stkit-torch')}, weights of step {', '.join(map(str, steps))}",
            "history": f"{now()}: {command()}",
            "comment": "; ".join(said),
        }


def _identity(members: Sequence[StreamMember], lags: int) -> dict[str, Any]:
    """Of the runs and their weights: a state belongs to the weights that made it."""
    runs = []
    for member in members:
        run = member.run
        place = run.parent.parent if (run / "manifest.json").is_file() else run
        recipe_hash = RunDirectory.open(place).read_record().get("recipe_hash")
        runs.append({"recipe_hash": recipe_hash, "weights_of_step": member.trained.trained_steps})
    return {"runs": runs, "lags": lags}


def _opened(out: Path, identity: Mapping[str, Any], device: torch.device) -> Snapshot:
    """The state to go on from, or a new one."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"-o {out}: a stream writes one file for each frame: name a folder, new or empty")
    state = out / STATE
    if state.is_file():
        snapshot = Snapshot.load(state, device)
        if dict(snapshot.run) != dict(identity):
            raise UsageError(
                f"-o {out}: holds the stream of another run or of other weights "
                f"({_told(snapshot.run)}; this is {_told(identity)}): name another folder"
            )
        return snapshot
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"-o {out}: is not empty and holds no stream to go on with: name a folder, new or empty")
    return Snapshot(run=identity)


def _told(identity: Mapping[str, Any]) -> str:
    runs = [
        f"recipe {str(one.get('recipe_hash'))[:12]}, weights of step {one.get('weights_of_step')}"
        for one in identity["runs"]
    ]
    lags = identity["lags"]
    return " and ".join(runs) + (f", {lags} lags" if lags > 1 else "")
