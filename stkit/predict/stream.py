"""Follow frames as they arrive: ``stkit predict RUN --stream DIR``.

The model's state is kept from frame to frame, so that a forecast costs one step and the steps ahead, however long the
stream is. Where frames are missing, their forecasts stand in for a stated number of them; after more the state is given
up and the stream is warmed again from the frames that follow.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stkit.data.calendar import as_text
from stkit.data.source import Grid
from stkit.errors import UsageError
from stkit.evaluate.forecast_file import forecast_file
from stkit.evaluate.forecast_layout import Layout
from stkit.predict.arrivals import Arrivals, Frame, steps_between
from stkit.predict.context import step_words
from stkit.predict.forecast import find_device
from stkit.predict.region import on_region
from stkit.predict.snapshot import Snapshot
from stkit.run.directory import RunDirectory
from stkit.run.load import TrainedForecaster, TrainedStream, load
from stkit.run.record import command, now
from stkit.train.stopping import Interrupt, interruptible

LOG = logging.getLogger("stkit.predict")

STATE = "state.safetensors"
"""The snapshot in the output folder."""

_NAP_SECONDS = 0.2


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is followed."""

    horizon: int | None = None
    """Lead times of each forecast; None: as trained."""
    once: bool = False
    """Stop when what is there has been taken in."""
    poll_seconds: float = 10.0
    """Between two looks at the folder."""
    patience_seconds: float = 60.0
    """How long a file that cannot be read is waited for."""
    max_gap: int = 1
    """Missing frames in a row that forecasts stand in for; after more the stream is warmed again."""
    fresh: bool = False
    """Start every forecast from the last frames alone, as many as in training, instead of the state that was kept."""
    pattern: str = "*.nc"
    """Of the files' names."""
    by_valid_time: bool = False
    """As for a single forecast."""


@dataclass(frozen=True)
class Streamed:
    """One forecast that was written."""

    out: str
    start: str
    """Time of the last known frame, or its number where there are no times."""
    horizon: int
    stood_in: int
    """Missing frames before the start that forecasts stood in for, since the last one but the start's."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass
class Followed:
    """What became of a stream until it was stopped."""

    forecasts: int = 0
    frames: int = 0
    """Taken in."""
    refused: int = 0
    """Frames that came out of order, twice, between two steps, without a value or on another grid."""
    stood_in: int = 0
    """Frames that did not come, and that forecasts stood in for."""
    restarts: int = 0
    """How often the state was given up after a gap."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def follow(
    run: str | Path,
    folder: str | Path,
    out: str | Path,
    options: StreamOptions = StreamOptions(),
    *,
    device: str | None = None,
    told: Callable[[Streamed], None] = lambda streamed: None,
) -> Followed:
    """Forecast after every frame that arrives in a folder, until Ctrl-C or SIGTERM, or once.

    Each forecast is a file of its own in ``out``, whole or not there, and the state is saved beside them after each
    frame: the same call goes on where it was stopped.

    Args:
        run: a run directory, or a checkpoint in it.
        folder: where files arrive.
        out: the folder for forecasts: new, empty, or that of a stream of this run to go on with.
        options: how.
        device: where to compute; null: the CPU.
        told: called with each forecast that was written.

    Raises:
        UsageError: there is no such folder, ``out`` is something else, or the model needs forcing for the future.
        CheckpointError: the run has no usable weights, or the saved state is damaged.
        DataError: the region of the frames does not fit.
        RunFailed: the disk is full.
    """
    forecaster = load(run, device=find_device(device))
    if forecaster.pipeline.forcing:
        names = ", ".join(variable.name for variable in forecaster.pipeline.forcing)
        raise UsageError(f"--stream: the model needs the forcing {names} of the future, and frames that arrive lack it")
    stream = Stream(forecaster, _identity(Path(run), forecaster), Path(out), options, told)
    arrivals = Arrivals(
        Path(folder),
        options.pattern,
        forecaster,
        options.patience_seconds,
        stream.snapshot.taken,
        hold=not options.once,
    )
    with interruptible() as interrupt:
        while True:
            for frame in arrivals:
                stream.take(frame)
                if frame.last_of_file and interrupt.signal is not None:
                    break
            if options.once or interrupt.signal is not None:
                break
            _sleep(options.poll_seconds, interrupt)
    if options.once:
        arrivals.tell_unread()
    stream.save()
    return stream.followed


class Stream:
    """One stream: what has come so far, and what is written of it.

    Args:
        forecaster: as it was trained.
        identity: what tells the run and its weights from others.
        out: the folder for forecasts.
        options: how.
        told: called with each forecast that was written.

    Raises:
        UsageError: the folder holds something else.
    """

    def __init__(
        self,
        forecaster: TrainedForecaster,
        identity: Mapping[str, Any],
        out: Path,
        options: StreamOptions,
        told: Callable[[Streamed], None],
    ) -> None:
        self.trained = self.forecaster = forecaster
        self.out, self.options, self.told = out, options, told
        self.horizon = options.horizon or forecaster.pipeline.horizon
        self.followed = Followed()
        self.grid: Grid | None = None
        self.region = ""
        self.snapshot = _opened(out, identity, forecaster.device)

    def take(self, frame: Frame) -> None:
        """Take in a frame, and forecast if there are enough."""
        snapshot = self.snapshot
        problem = self._problem(frame)
        missing = 0
        if problem is None and self._last is not None and frame.time is not None:
            steps = steps_between(self._last, frame.time, self._step)
            missing = 0 if steps is None else steps - 1
            problem = self._out_of_order(frame, steps)
        if problem is not None:
            self.followed.refused += 1
            LOG.warning("%s: %s: the frame is left out", frame.file, problem)
        else:
            self._gap(frame, missing)
            self._add(frame)
            snapshot.count += 1
            self.followed.frames += 1
            if snapshot.stream is not None:
                self._write(frame, missing)
        if frame.last_of_file:
            snapshot.taken.add(frame.file)
            self.save()

    def save(self) -> None:
        """Write the state into the folder."""
        self.snapshot.save(self.out / STATE)

    @property
    def _step(self) -> np.timedelta64:
        step = self.trained.pipeline.step
        assert step is not None, "frames have times"
        return step

    @property
    def _last(self) -> np.datetime64 | None:
        """Time of the last frame taken in."""
        stream, times = self.snapshot.stream, self.snapshot.times
        if stream is not None:
            return None if stream.times is None else np.asarray(stream.times)[0, -1]
        return times[-1] if times else None

    def _problem(self, frame: Frame) -> str | None:
        """Why a frame cannot be taken in, whenever it comes."""
        pipeline = self.trained.pipeline
        if pipeline.step is not None and frame.time is None:
            return "has no time that can be understood, but the model was trained on fields with times"
        if self.grid is None:
            self.grid = frame.grid
            if self.snapshot.seen is not None:
                self._move(self.snapshot.seen)
        difference = self.grid.difference(frame.grid)
        if difference:
            return f"its grid differs from that of the frames before: {difference}"
        for channel, variable in enumerate(pipeline.variables[: pipeline.state_channels]):
            if not np.isfinite(frame.fields[:, channel]).any():
                return f"{variable.name!r} is missing (NaN) at every cell"
        return None

    def _out_of_order(self, frame: Frame, steps: int | None) -> str | None:
        when, last = as_text(frame.time), as_text(self._last)
        if steps is None:
            return f"{when} lies between two steps of one {step_words(self._step)} after {last}"
        if steps < 1:
            return f"{when} comes {'twice' if when == last else 'out of order'}, after {last}"
        return None

    def _gap(self, frame: Frame, missing: int) -> None:
        """Frames before this one did not come."""
        if missing == 0:
            return
        snapshot = self.snapshot
        between = f"{missing} frame{'s' if missing > 1 else ''} before {as_text(frame.time)} did not come"
        if snapshot.stream is not None and missing <= self.options.max_gap:
            LOG.warning("%s: forecasts stand in for them", between)
            for _ in range(missing):
                _, snapshot.stream = self.forecaster.step(None, snapshot.stream)
            self.followed.stood_in += missing
            return
        if snapshot.stream is not None or snapshot.pending:
            LOG.warning(
                "%s: starting again, with a forecast after %d frames", between, self.trained.pipeline.input_steps
            )
            self.followed.restarts += 1
        snapshot.stream, snapshot.pending, snapshot.times = None, [], []

    def _add(self, frame: Frame) -> None:
        snapshot, needed = self.snapshot, self.trained.pipeline.input_steps
        if snapshot.stream is not None:
            _, stream = self.forecaster.step(torch.from_numpy(frame.fields), snapshot.stream, frame.time)
            snapshot.stream = self._fresh(stream) if self.options.fresh else stream
            return
        snapshot.pending.append(torch.from_numpy(frame.fields[0]))
        if frame.time is not None:
            snapshot.times.append(frame.time)
        if len(snapshot.pending) < needed:
            return
        context = torch.stack([kept.cpu() for kept in snapshot.pending])
        times = np.array(snapshot.times) if self.trained.pipeline.step is not None else None
        if snapshot.seen is None and self.grid is not None and self.trained.pipeline.grid.difference(self.grid):
            self._move(context.isfinite().any(dim=0).numpy())
        snapshot.stream = self.forecaster.warm(context, times)
        snapshot.pending, snapshot.times = [], []

    def _fresh(self, stream: TrainedStream) -> TrainedStream:
        """The stream from its last frames alone, where none is missing among them."""
        times = stream.times
        if times is not None:
            steps = [steps_between(one, other, self._step) for one, other in zip(times[0], times[0, 1:], strict=False)]
            if any(count != 1 for count in steps):
                return stream
        return self.forecaster.warm(stream.observed, times)

    def _move(self, seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
        """Go over to the region that the frames are of."""
        assert self.grid is not None, "a frame has come"
        moved = on_region(self.trained, self.grid, seen, "the frames")
        self.forecaster, self.region, self.snapshot.seen = moved.forecaster, moved.words, seen

    def _write(self, frame: Frame, missing: int) -> None:
        stream, pipeline = self.snapshot.stream, self.forecaster.pipeline
        assert stream is not None, "there are enough frames"
        said: Tensor = self.forecaster.ahead(stream, self.horizon)
        start = None if stream.times is None else np.asarray(stream.times)[0, -1:]
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
            by_valid_time=self.options.by_valid_time and start is not None,
        )
        name = f"{number:06d}" if start is None else np.datetime_as_string(start[0], unit="s").translate(_PLAIN)
        path = self.out / f"forecast-{name}.nc"
        with forecast_file(path, layout, self._attributes(missing)) as file:
            file.write(0, said.cpu().numpy())
        self.followed.forecasts += 1
        self.told(Streamed(str(path), str(number) if start is None else as_text(start[0]), self.horizon, missing))

    def _attributes(self, missing: int) -> dict[str, str]:
        trained = self.trained.pipeline.horizon
        said = [f"{missing} frames just before the start did not come; forecasts stood in for them"] if missing else []
        if self.horizon > trained:
            said.append(f"lead times beyond {trained} steps are longer than the model was trained for")
        if self.region:
            said.append(self.region)
        return {
            "title": "Forecast from a stream of frames",
            "source": f"stkit-torch {version('stkit-torch')}, weights of step {self.trained.trained_steps}",
            "history": f"{now()}: {command()}",
            "comment": "; ".join(said),
        }


_PLAIN = str.maketrans("", "", "-:")


def _identity(run: Path, forecaster: TrainedForecaster) -> dict[str, Any]:
    """Of the run and its weights: a state belongs to the weights that made it."""
    place = run.parent.parent if (run / "manifest.json").is_file() else run
    record = RunDirectory.open(place).read_record()
    return {"recipe_hash": record.get("recipe_hash"), "weights_of_step": forecaster.trained_steps}


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
    return f"recipe {str(identity.get('recipe_hash'))[:12]}, weights of step {identity.get('weights_of_step')}"


def _sleep(seconds: float, interrupt: Interrupt) -> None:
    """Until the next look, or until a signal comes."""
    end = time.monotonic() + seconds
    while interrupt.signal is None and (left := end - time.monotonic()) > 0:
        time.sleep(min(_NAP_SECONDS, left))
