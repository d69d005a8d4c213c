"""Forecast from a user's file with a trained run: ``stkit predict``.

Only frames up to the start are read; of the future nothing is needed but the forcing, where the model takes some. The
horizon may be any.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stkit.data.calendar import as_text
from stkit.errors import UsageError
from stkit.evaluate.forecast_file import ForecastFile
from stkit.evaluate.forecast_layout import Layout
from stkit.predict.context import check_context, step_words
from stkit.predict.forcing import forcing_of, state_of
from stkit.predict.inputs import open_input
from stkit.predict.starts import find_start
from stkit.run.load import TrainedForecaster, load

LOG = logging.getLogger("stkit.predict")


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
    source_fields = open_input(path, forecaster)
    fields = state_of(source_fields, pipeline)
    known = pipeline.input_steps
    last = find_start(fields, start, known, path)
    context = fields.read(last + 1 - known, last + 1)
    times = None if fields.times is None or pipeline.step is None else fields.times[last + 1 - known : last + 1]
    check_context(context, times, fields.times, pipeline, path)
    if ahead > pipeline.horizon:
        LOG.warning("the model was trained for %d steps ahead; steps beyond are extrapolated", pipeline.horizon)
    valid = None if times is None else pipeline.target_times(times[None], ahead)
    forcing = forcing_of(source_fields, last, None if valid is None else valid[0], ahead, pipeline, path)
    said = forecaster(context, ahead, times=None if times is None else times[None], forcing=forcing).cpu().numpy()
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
        step="step" if pipeline.step is None else step_words(pipeline.step),
        last=None if valid is None else as_text(valid[0, -1]),
    )


def _check_target(source: Path, out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise UsageError(f"-o {out}: this is a folder; name a file, such as {out / 'forecast.nc'}")
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"-o {out}: this is the input itself; name another file")
    if out.exists() and not overwrite:
        raise UsageError(f"-o {out}: the file exists; --overwrite writes over it")


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
