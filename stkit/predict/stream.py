"""Follow frames as they arrive: ``stkit predict RUN --stream DIR``.

The models' state is kept from frame to frame, so that a forecast costs one step and the steps ahead, however long the
stream is. Where frames are missing, their forecasts stand in for a stated number of them; after more the state is given
up and the stream is warmed again from the frames that follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stkit.errors import UsageError
from stkit.predict.arrivals import Arrivals
from stkit.predict.follower import Follower
from stkit.predict.forecast import find_device
from stkit.predict.members import check_forcing, open_runs
from stkit.predict.stream_forcing import StreamForcing
from stkit.predict.stream_member import StreamMember
from stkit.predict.stream_options import Followed, Streamed, StreamOptions
from stkit.run.load import TrainedForecaster
from stkit.train.stopping import Interrupt, interruptible

_NAP_SECONDS = 0.2


def follow(
    runs: str | Path | Sequence[str | Path],
    folder: str | Path,
    out: str | Path,
    options: StreamOptions | None = None,
    *,
    forcing: str | Path | None = None,
    device: str | None = None,
    told: Callable[[Streamed], None] = lambda streamed: None,
) -> Followed:
    """Forecast after every frame that arrives in a folder, until Ctrl-C or SIGTERM, or once.

    Each forecast is a file of its own in ``out``, whole or not there, and the state is saved beside them after each
    frame: the same call goes on where it was stopped.

    Args:
        runs: a run directory, or a checkpoint in it; several make an ensemble.
        folder: where files arrive.
        out: the folder for forecasts: new, empty, or that of a stream of these runs to go on with.
        options: how; null: as :class:`~stkit.predict.stream_options.StreamOptions` has it.
        forcing: a file, or a pattern, with the forcing of the frames that arrive and of those to forecast; it may be
            written anew meanwhile, and a frame waits until it reaches as far as its forecast.
        device: where to compute; null: the CPU.
        told: called with each forecast that was written.

    Raises:
        UsageError: there is no such folder, ``out`` is something else, a model needs forcing and there is none, or
            options do not go together.
        CheckpointError: a run has no usable weights, or the saved state is damaged.
        DataError: the runs do not go together, or the region of the frames or of the forcing does not fit.
        RunFailed: the disk is full.
    """
    options = options or StreamOptions()
    places = [Path(run) for run in ([runs] if isinstance(runs, (str, Path)) else runs)]
    if options.statistics and len(places) * options.lags < 2:
        raise UsageError("--statistics: one forecast has no spread; give further runs with --member, or --lags")
    opened = open_runs(places, find_device(device))
    forecasters = [forecaster for _, forecaster in opened]
    _check_same_state(opened)
    apart = None if forcing is None else Path(forcing)
    check_forcing(apart, forecasters)
    kept = max(forecaster.pipeline.input_steps for forecaster in forecasters) + options.lags + options.max_gap
    members = [
        StreamMember(
            run,
            forecaster,
            options.lags,
            is_fresh=options.fresh,
            forcing=_forcing(apart, forecaster, kept),
        )
        for run, forecaster in opened
    ]
    follower = Follower(members, Path(out), options, told)
    arrivals = Arrivals(
        Path(folder),
        options.pattern,
        forecasters[0],
        options.patience_seconds,
        follower.snapshot.taken,
        hold=not options.once,
        is_ready=follower.check_forcing,
    )
    with interruptible() as interrupt:
        while True:
            for frame in arrivals:
                follower.take(frame)
                if frame.last_of_file and interrupt.signal is not None:
                    break
            if options.once or interrupt.signal is not None:
                break
            _sleep(options.poll_seconds, interrupt)
    if options.once:
        arrivals.tell_unread()
    follower.save()
    return follower.followed


def _forcing(path: Path | None, forecaster: TrainedForecaster, kept_steps: int) -> StreamForcing | None:
    pipeline = forecaster.pipeline
    if not pipeline.forcing:
        return None
    names = ", ".join(variable.name for variable in pipeline.forcing)
    if path is None:
        raise UsageError(
            f"--stream: the model needs the forcing {names} of the future, and frames that arrive lack it: name a file "
            "that has it with --forcing"
        )
    if pipeline.step is None:
        raise UsageError(
            f"--stream: the model was trained on frames without times, so the forcing {names} of those that arrive "
            "cannot be found; forecast with `stkit predict RUN INPUT`"
        )
    return StreamForcing(path, forecaster, kept_steps)


def _check_same_state(opened: Sequence[tuple[Path, TrainedForecaster]]) -> None:
    """All runs are given the same frames."""
    (first, trained), *others = opened
    for run, forecaster in others:
        mine, theirs = (
            ", ".join(f"{v.name} [{v.units}]" for v in one.pipeline.variables[: one.pipeline.state_channels])
            for one in (trained, forecaster)
        )
        if mine != theirs:
            raise UsageError(f"--member {run}: starts from {theirs}, but {first} from {mine}: a stream has one of them")


def _sleep(seconds: float, interrupt: Interrupt) -> None:
    """Until the next look, or until a signal comes."""
    end = time.monotonic() + seconds
    while interrupt.signal is None and (left := end - time.monotonic()) > 0:
        time.sleep(min(_NAP_SECONDS, left))
