"""Forecast from a user's file with a trained run: ``stkit predict``.

Only frames up to the start are read; nothing of the future is needed, and the horizon may be any.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stkit.data.calendar import Times, as_text, is_monthly, is_yearly, step_name, typical_step
from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.netcdf_file import open_file
from stkit.data.source import Fields, FieldSource
from stkit.errors import DataError, UsageError
from stkit.evaluate.forecast_file import ForecastFile
from stkit.evaluate.forecast_layout import Layout
from stkit.run.load import TrainedForecaster, load

if TYPE_CHECKING:
    from stkit.data.pipeline import Pipeline

LOG = logging.getLogger("stkit.run")

_STEP_TOLERANCE = 0.01


@dataclass(frozen=True)
class Predicted:
    """What was forecast."""

    out: str
    """The NetCDF file."""
    variables: tuple[str, ...]
    start: str
    """Time of the last known frame, or its number where there are no times."""
    horizon: int
    """Lead times."""
    trained_horizon: int
    """Lead times that the model was trained for."""
    step: str
    """One time step in words."""
    last: str | None
    """Time of the last forecast frame."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def predict(
    run: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    horizon: int | None = None,
    start: str | None = None,
    overwrite: bool = False,
    device: str | None = None,
) -> Predicted:
    """Forecast from the last frames of a NetCDF file and write CF NetCDF.

    Args:
        run: a run directory, or a checkpoint in it.
        source: the file with the frames known so far: the run's variables and units, on its grid, at its time step.
        out: the file to write, whole or not at all.
        horizon: lead times; null: as trained.
        start: the last known frame: a time such as ``2010-06`` (the last frame within it), or the number of a frame
            where there are no times; null: the file's last frame.
        overwrite: write over ``out``.
        device: where to compute; null: the CPU.

    Raises:
        UsageError: ``out`` exists, or the horizon is not positive.
        DataError: the file, a variable, its unit, the grid, the time step or the start does not fit.
        CheckpointError: the run has no usable weights.
        RunFailed: the disk is full.
    """
    path, target = Path(source), Path(out)
    _check_target(path, target, overwrite)
    if horizon is not None and horizon < 1:
        raise UsageError(f"--horizon {horizon}: forecast at least one step")
    forecaster = load(run, device=_device(device))
    pipeline = forecaster.pipeline
    ahead = horizon or pipeline.horizon
    fields = open_input(path, forecaster)
    known = pipeline.input_steps
    last = _start(fields, start, known, path)
    context = fields.read(last + 1 - known, last + 1)
    times = None if fields.times is None or pipeline.step is None else fields.times[last + 1 - known : last + 1]
    _check_context(context, times, fields.times, pipeline, path)
    if ahead > pipeline.horizon:
        LOG.warning("the model was trained for %d steps ahead; steps beyond are extrapolated", pipeline.horizon)
    said = forecaster(context, ahead, times=None if times is None else times[None]).cpu().numpy()
    valid = None if times is None else pipeline.target_times(times[None], ahead)
    layout = Layout(
        variables=pipeline.variables,
        grid=pipeline.grid,
        windows=1,
        leads=ahead,
        step=pipeline.step,
        starts=None if times is None else times[-1:],
        valid=valid,
        numbers=(last,),
    )
    with ForecastFile(target, layout, _attributes(forecaster, path, ahead)) as file:
        file.write(0, said)
    return Predicted(
        out=str(target),
        variables=tuple(variable.name for variable in pipeline.variables),
        start=str(last) if times is None else as_text(times[-1]),
        horizon=ahead,
        trained_horizon=pipeline.horizon,
        step="step" if pipeline.step is None else _words(pipeline.step),
        last=None if valid is None else as_text(valid[0, -1]),
    )


def open_input(path: Path, forecaster: TrainedForecaster) -> FieldSource:
    """Open a user's file as fields of the kind that a model was trained on.

    Raises:
        DataError: a variable, its unit or the grid differs, with what was received and what is known.
    """
    pipeline = forecaster.pipeline
    source = NetcdfSource(_input_config(path, forecaster))
    names = [variable.name for variable in source.variables]
    expected = [variable.name for variable in pipeline.variables]
    if names != expected:
        raise DataError(
            f"{path}: gives the variables {', '.join(names)}; the model was trained on {', '.join(expected)}"
        )
    for given, trained in zip(source.variables, pipeline.variables, strict=True):
        if given.units != trained.units:
            raise DataError(
                f"{path}: {given.name!r} is in {given.units!r}, but the model was trained on {trained.units!r}: "
                "convert the file, or mend its 'units' attribute if that is wrong"
            )
    pipeline.check_grid(source.grid, str(path))
    return source


def _input_config(path: Path, forecaster: TrainedForecaster) -> NetcdfConfig:
    """How the training file was read, for another file. The mask is the model's own."""
    names = tuple(variable.name for variable in forecaster.pipeline.variables)
    config = _trained_config(forecaster)
    if not path.is_file():
        return config.model_copy(update={"path": str(path), "variables": names})
    with open_file(path) as dataset:
        present = {str(name) for name in dataset.data_vars}
    keep = config.spread is not None and not present.issuperset(names)
    update = {"path": str(path), "mask": None, "allow_gaps": True}
    return config.model_copy(update=update if keep else {**update, "variables": names, "spread": None})


def _trained_config(forecaster: TrainedForecaster) -> NetcdfConfig:
    from stkit.data.prepare import open_source

    config = forecaster.recipe.data.dataset
    if isinstance(config, NetcdfConfig):
        return config
    try:
        source = open_source(forecaster.recipe.data)
    except UsageError:
        # The training data are not needed for a forecast; without them the file must say everything itself.
        source = None
    return source.config if isinstance(source, NetcdfSource) else NetcdfConfig(name="netcdf", path="")


def _check_target(source: Path, out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise UsageError(f"-o {out}: this is a folder; name a file, such as {out / 'forecast.nc'}")
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"-o {out}: this is the input itself; name another file")
    if out.exists() and not overwrite:
        raise UsageError(f"-o {out}: the file exists; --overwrite writes over it")


def _start(fields: FieldSource, start: str | None, known: int, path: Path) -> int:
    """Index of the last known frame."""
    last = fields.steps - 1 if start is None else _find(fields, start, path)
    if last + 1 < known:
        before = "" if start is None else f" up to {start}"
        raise DataError(f"{path}: has {last + 1} time steps{before}, but the model needs {known} to start from")
    return last


def _find(fields: FieldSource, start: str, path: Path) -> int:
    if fields.times is None:
        if not start.isdecimal() or int(start) >= fields.steps:
            raise DataError(
                f"--start {start}: {path} has no times, so give the number of a frame, 0 to {fields.steps - 1}"
            )
        return int(start)
    try:
        begin = np.datetime64(start)
        if np.isnat(begin):
            raise ValueError(start)
    except ValueError:
        raise UsageError(f"--start {start!r}: expected a time such as 2010-06 or 2010-06-16T12:00") from None
    # The whole month, day or hour that is named; its last frame counts.
    end = (begin + 1).astype("datetime64[ns]")
    inside = np.flatnonzero((fields.times >= begin.astype("datetime64[ns]")) & (fields.times < end))
    if inside.size == 0:
        raise DataError(
            f"--start {start}: {path} has no frame there; its frames go from {as_text(fields.times[0])} "
            f"to {as_text(fields.times[-1])}, the nearest is {as_text(_nearest(fields.times, begin))}"
        )
    return int(inside[-1])


def _nearest(times: Times, wanted: np.datetime64) -> np.datetime64:
    distance = np.abs((times - wanted.astype("datetime64[ns]")).astype(np.int64))
    nearest: np.datetime64 = times[int(distance.argmin())]
    return nearest


def _check_context(
    context: Fields, times: Times | None, every_time: Times | None, pipeline: Pipeline, path: Path
) -> None:
    if pipeline.step is not None and times is None:
        raise DataError(f"{path}: has no times that can be understood, but the model was trained on fields with times")
    valid = pipeline.valid.cpu().numpy()
    for channel, variable in enumerate(pipeline.variables):
        if not np.isfinite(context[:, channel][:, valid[channel]]).any():
            raise DataError(
                f"{path}: {variable.name!r} is missing (NaN) at every cell of the {len(context)} frames "
                "that the forecast would start from"
            )
    if times is None or pipeline.step is None:
        return
    given = None if every_time is None else typical_step(every_time)
    fits = [_same_step(step, pipeline.step) for step in np.diff(times)]
    if any(fits) and not all(fits):
        at = fits.index(False)
        raise DataError(
            f"{path}: between {as_text(times[at])} and {as_text(times[at + 1])} frames are missing; the model needs "
            f"{len(times)} consecutive ones"
        )
    if given is not None and not _same_step(given, pipeline.step):
        trained = _words(pipeline.step)
        raise DataError(
            f"{path}: its time step is {_words(given)}, but the model was trained on steps of one {trained}"
        )


def _same_step(one: np.timedelta64, other: np.timedelta64) -> bool:
    if is_monthly(one) or is_yearly(one):
        return is_monthly(one) == is_monthly(other) and is_yearly(one) == is_yearly(other)
    return bool(abs(one / other - 1.0) < _STEP_TOLERANCE)


def _words(step: np.timedelta64) -> str:
    return step_name(np.array([0, step.astype("timedelta64[ns]").astype(np.int64)], dtype="datetime64[ns]"))


def _device(name: str | None) -> str:
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


def _attributes(forecaster: TrainedForecaster, source: Path, horizon: int) -> dict[str, str]:
    trained = forecaster.pipeline.horizon
    beyond = f"lead times beyond {trained} steps are longer than the model was trained for" if horizon > trained else ""
    return {
        "title": f"Forecast from {source.name}",
        "source": f"stkit-torch {version('stkit-torch')}, weights of step {forecaster.trained_steps}",
        "comment": beyond,
    }
