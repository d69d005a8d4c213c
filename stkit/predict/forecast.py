"""Forecast from a user's file with trained runs: ``stkit predict``.

Only frames up to the start are read; of the future nothing is needed but the forcing, where the model takes some, and
the horizon may be any.

Axes: ``M`` members, ``B`` starts, ``T`` known frames, ``L`` lead times, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, as_text
from stkit.data.record import SpanRecord
from stkit.data.source import FieldSource
from stkit.errors import UsageError
from stkit.evaluate.forecast_file import ZARR, forecast_file
from stkit.evaluate.forecast_layout import Layout
from stkit.predict.context import check_context, step_words
from stkit.predict.members import Member, lagged, open_members
from stkit.predict.region import on_region
from stkit.predict.starts import find_starts
from stkit.run.record import command, now

Piece = tuple[int, NDArray[np.float32]]
"""Number of the first lead time, from 0, and ``B L C H W``."""

LOG = logging.getLogger("stkit.predict")

_OTHER_FORMATS = (".csv", ".txt", ".json", ".npy", ".npz", ".png", ".tif", ".tiff", ".grb", ".grib", ".grib2")


@dataclass(frozen=True)
class Predicted:
    """What was forecast."""

    out: str
    """The file, or the Zarr store."""
    variables: tuple[str, ...]
    starts: tuple[str, ...]
    """Times of the last known frames, or their numbers where there are no times."""
    horizon: int
    """Lead times."""
    trained_horizon: int
    """Lead times that the models were trained for, the fewest of them."""
    members: int
    """Forecasts of each start."""
    step: str
    """One time step in words."""
    last: str | None
    """Time of the last forecast frame."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def predict(
    runs: str | Path | Sequence[str | Path],
    source: str | Path | None,
    out: str | Path,
    *,
    horizon: int | None = None,
    starts: Sequence[str] = (),
    every: int = 1,
    lags: int = 1,
    statistics: bool = False,
    by_valid_time: bool = False,
    refit: bool = False,
    forcing: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
) -> Predicted:
    """Forecast from the frames of a file and write CF NetCDF, or Zarr.

    Args:
        runs: a run directory, or a checkpoint in it; several make an ensemble.
        source: the file with the frames known so far: the runs' variables and units, at their time step; null: the
            first run's own data.
        out: the file to write, whole or not at all; a name that ends in ``.zarr`` makes a Zarr store.
        horizon: lead times; null: as the first run was trained.
        starts: the last known frames: times such as ``2010-06`` (the last frame within it), spans such as
            ``2010-01..2010-12`` (every frame within it), or numbers of frames where there are no times; none: the
            file's last frame.
        every: steps between the starts of a span.
        lags: starts of each run, one step apart, that make members of an ensemble: the start and those before it.
        statistics: write the mean and the spread of the ensemble, too.
        by_valid_time: make ``time`` the time for which a field is; for a single start.
        refit: where the file is of another region than the training, take statistics of cells from its frames up to the
            first start.
        forcing: a file of its own with the forcing of the known frames and of those to forecast; null: ``source`` has
            it, and goes on with it where the other variables end.
        overwrite: write over ``out``.
        device: where to compute; null: the CPU.

    Raises:
        UsageError: ``out`` exists, or options do not go together.
        DataError: the file, a variable, its unit, the grid, the time step or a start does not fit.
        CheckpointError: a run has no usable weights.
        RunFailed: the disk is full.
    """
    path, target = None if source is None else Path(source), Path(out)
    _check_options(horizon, lags, every)
    _check_target(path, target, overwrite)
    paths = [Path(run) for run in ([runs] if isinstance(runs, (str, Path)) else runs)]
    apart = None if forcing is None else Path(forcing)
    members = lagged(open_members(paths, path, find_device(device), apart), lags)
    if statistics and len(members) < 2:
        raise UsageError("--statistics: one forecast has no spread; give further runs with --member, or --lags")
    fields, where = members[0].fields, str(path or members[0].fields.name)
    found = find_starts(fields, starts, every, max(member.reach for member in members), where)
    if by_valid_time and (len(found) > 1 or members[0].forecaster.pipeline.step is None):
        what = f"{len(found)} starts" if len(found) > 1 else "fields without times"
        raise UsageError(f"--by-valid-time: it is for one start on a record with times, not for {what}")
    members = [_on_region(member, found, where, refit) for member in members]
    ahead = horizon or members[0].forecaster.pipeline.horizon
    trained = min(member.forecaster.pipeline.horizon for member in members)
    if ahead > trained:
        LOG.warning("the model was trained for %d steps ahead; steps beyond are extrapolated", trained)
    layout = _layout(members, found, ahead, statistics, by_valid_time)
    size = members[0].forecaster.recipe.evaluate.batch_size
    for member in members:
        for start in found:
            _check(member, start, where)
    with forecast_file(target, layout, _attributes(members, where, ahead, trained)) as file:
        for first in range(0, len(found), size):
            some = found[first : first + size]
            valid = None if layout.valid is None else layout.valid[first : first + size]
            pieces = zip(*(_forecast(member, some, ahead, valid) for member in members), strict=True)
            for lead, said in (_together(piece) for piece in pieces):
                file.write(first, said if layout.members is not None else said[0], lead)
    step = members[0].forecaster.pipeline.step
    return Predicted(
        out=str(target),
        variables=tuple(variable.name for variable in layout.variables),
        starts=tuple(str(start) if layout.starts is None else as_text(fields.times[start]) for start in found),  # type: ignore[index]
        horizon=ahead,
        trained_horizon=trained,
        members=len(members),
        step="step" if step is None else step_words(step),
        last=None if layout.valid is None else as_text(layout.valid[-1, -1]),
    )


def find_device(name: str | None) -> str:
    """A device that is there, by its name; null: the CPU.

    Raises:
        UsageError: there is none of that name here.
    """
    import torch

    if name is None:
        return "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name!r}: expected cpu, cuda or cuda:0") from None
    found = torch.accelerator.current_accelerator(check_available=True)
    if device.type != "cpu" and (found is None or found.type != device.type):
        raise UsageError(f"--device {name}: there is none here; known: cpu{f', {found.type}' if found else ''}")
    if device.type != "cpu" and (device.index or 0) >= torch.accelerator.device_count():
        raise UsageError(f"--device {name}: there are {torch.accelerator.device_count()}, counted from 0")
    return str(device)


def _check_options(horizon: int | None, lags: int, every: int) -> None:
    for name, value in (("horizon", horizon), ("lags", lags), ("every", every)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: at least one step")


def _check_target(source: Path | None, out: Path, overwrite: bool) -> None:
    for path in (out, *(() if source is None else (source,))):
        try:
            path.exists()
        except OSError as error:  # a name too long, a folder that may not be read
            raise UsageError(f"{_short(path)}: cannot be read or written ({error.strerror})") from None
    if out.suffix.lower() in _OTHER_FORMATS:
        raise UsageError(f"-o {out}: forecasts are NetCDF (.nc) or Zarr (.zarr), not {out.suffix}")
    if out.is_dir() and (out.suffix != ZARR or (any(out.iterdir()) and not _is_store(out))):
        raise UsageError(f"-o {out}: this is a folder; name a file, such as {out / 'forecast.nc'}")
    if out.exists() and source is not None and source.exists() and out.samefile(source):
        raise UsageError(f"-o {out}: this is the input itself; name another file")
    if out.suffix == ZARR and out.is_file():
        raise UsageError(f"-o {out}: this is a file, and a Zarr store is a folder; name another")
    if out.exists() and not overwrite:
        raise UsageError(f"-o {out}: the file exists; --overwrite writes over it")


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 80 else f"…{text[-60:]}"


def _is_store(path: Path) -> bool:
    return any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def _times(member: Member, first: int, stop: int) -> Times | None:
    times = member.fields.times
    return None if times is None or member.forecaster.pipeline.step is None else times[first:stop]


def _check(member: Member, start: int, where: str) -> None:
    """Whether a member can start from its frames up to ``start``."""
    first, stop = start + 1 - member.reach, start + 1 - member.lag
    context = member.fields.read(first, stop)
    check_context(context, _times(member, first, stop), member.fields.times, member.forecaster.pipeline, where)


def _forecast(member: Member, starts: Sequence[int], ahead: int, valid: Times | None) -> Iterator[Piece]:
    """What a member says of the times after the starts, whatever its lag, some lead times at a time."""
    lasts = [start - member.lag for start in starts]
    steps = member.forecaster.pipeline.input_steps
    context = np.stack([member.fields.read(last + 1 - steps, last + 1) for last in lasts])
    times = targets = None
    if valid is not None and member.fields.times is not None:
        times = np.stack([member.fields.times[last + 1 - steps : last + 1] for last in lasts])
        between = [member.fields.times[last + 1 : start + 1] for last, start in zip(lasts, starts, strict=True)]
        targets = np.concatenate([np.stack(between), valid], axis=1)
    given = None
    if member.forcing is not None:
        every = [None] * len(lasts) if times is None or targets is None else np.concatenate([times, targets], axis=1)
        purpose = f"a forecast of {ahead + member.lag} steps"
        given = np.stack(
            [
                member.forcing.at(when, range(last + 1 - steps, last + 1 + ahead + member.lag), purpose)
                for when, last in zip(every, lasts, strict=True)
            ]
        )
    pieces = member.forecaster.pieces(
        context, ahead + member.lag, after=member.lag, times=times, target_times=targets, forcing=given
    )
    for lead, said in pieces:
        yield lead, np.asarray(said.cpu().numpy())


def _together(pieces: Sequence[Piece]) -> Piece:
    """``M B L C H W``, the same lead times of every member."""
    return pieces[0][0], np.stack([said for _, said in pieces])


def _on_region(member: Member, starts: Sequence[int], where: str, refit: bool) -> Member:
    """The member on the grid of the file."""
    fields, pipeline = member.fields, member.forecaster.pipeline
    if pipeline.grid.difference(fields.grid) is None:
        return member
    record = SpanRecord(fields, 0, starts[0] + 1) if refit else None
    spans = [(0, starts[0] + 1)] if refit else [(start + 1 - member.reach, start + 1) for start in starts]
    moved = on_region(member.forecaster, fields.grid, _seen(fields, spans), where, record)
    return replace(member, forecaster=moved.forecaster, region=moved.words)


def _seen(fields: FieldSource, spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """``S H W``: cells with a value in some frame, within the mask that the data set declares."""
    seen = np.zeros((len(fields.variables), *fields.grid.shape), dtype=bool)
    for begin, end in spans:
        for start, stop in fields.pieces(begin, end):
            seen |= np.isfinite(fields.read(start, stop)).any(axis=0)
    return seen if fields.mask is None else seen & fields.mask


def _layout(members: Sequence[Member], starts: Sequence[int], ahead: int, statistics: bool, by_time: bool) -> Layout:
    fields, pipeline = members[0].fields, members[0].forecaster.pipeline
    begun = None if fields.times is None or pipeline.step is None else fields.times[np.array(starts)]
    return Layout(
        variables=pipeline.variables,
        grid=fields.grid,
        windows=len(starts),
        leads=ahead,
        step=pipeline.step,
        starts=begun,
        valid=None if begun is None else pipeline.target_times(begun[:, None], ahead),
        numbers=tuple(starts),
        members=tuple(member.told for member in members) if len(members) > 1 else None,
        statistics=statistics,
        by_valid_time=by_time,
    )


def _attributes(members: Sequence[Member], where: str, ahead: int, trained: int) -> dict[str, str]:
    steps = sorted({member.forecaster.trained_steps for member in members})
    said = [f"lead times beyond {trained} steps are longer than the model was trained for"] if ahead > trained else []
    said += sorted({member.region for member in members if member.region})
    return {
        "title": f"Forecast from {Path(where).name}",
        "source": f"stkit-torch {version('stkit-torch')}, weights of step {', '.join(map(str, steps))}",
        "history": f"{now()}: {command()}",
        "comment": "; ".join(said),
    }
