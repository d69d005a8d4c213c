"""What a forecast is given for its own times.

Axes: ``T`` known frames, ``L`` lead times, ``F`` forcing, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, as_text, is_monthly, is_yearly
from stkit.data.pipeline import Pipeline
from stkit.data.roles import select_fields
from stkit.data.source import Fields, FieldSource, Grid, Variable
from stkit.errors import DataError
from stkit.predict.inputs import open_variables
from stkit.run.load import TrainedForecaster

_NEAR = 0.1
"""Of a time step: how far the forcing of a frame may lie from it."""


@dataclass(frozen=True)
class Forcing:
    """The forcing of a model, in a record of known and future times.

    Attributes:
        source: the forcing alone.
        step: the time step of the model; None where its frames have no times and are numbered.
        where: what messages call the record.
    """

    source: FieldSource
    step: np.timedelta64 | None
    where: str

    @classmethod
    def beside(cls, source: FieldSource, pipeline: Pipeline, where: str) -> Forcing | None:
        """That of an input with the state and the forcing; None where the model takes none."""
        if not pipeline.forcing:
            return None
        channels = range(pipeline.state_channels, len(source.variables))
        return cls(select_fields(source, channels, is_masked=False), pipeline.step, where)

    @classmethod
    def opened(cls, path: Path, forecaster: TrainedForecaster) -> Forcing:
        """That of a file of its own, which is read as the data that the model was trained on.

        Raises:
            DataError: a variable, its unit or the times are not those of the training.
        """
        pipeline = forecaster.pipeline
        source = open_variables(path, forecaster, pipeline.forcing)
        if pipeline.step is not None and source.times is None:
            raise DataError(f"{path}: has no times that can be understood, so the forcing has no place in time")
        channels = range(len(source.variables))
        return cls(select_fields(source, channels, is_masked=False), pipeline.step, str(path))

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The forcing."""
        return self.source.variables

    def check_grid(self, grid: Grid, of: str) -> None:
        """Refuse a grid that is not that of the frames.

        Raises:
            DataError: saying how it differs.
        """
        difference = grid.difference(self.source.grid)
        if difference:
            raise DataError(f"{self.where}: its grid differs from that of {of}: {difference}")

    def at(self, times: Times | None, numbers: Sequence[int], purpose: str) -> Fields:
        """The forcing of some frames: ``T F H W``, physical units.

        Args:
            times: of these frames; None where frames are numbered.
            numbers: of these frames, read where there are no times.
            purpose: what needs it, for messages: ``a forecast of 3 steps``.

        Raises:
            DataError: the record does not reach as far, or has no value there.
        """
        given = self.source.times
        if times is None or given is None or self.step is None:
            found = np.array([number if number < self.source.steps else -1 for number in numbers])
        else:
            found = positions(times, given, self.step)
        lacking = np.flatnonzero(found < 0)
        if lacking.size:
            raise DataError(self._lacks(times, lacking, numbers, purpose))
        first, stop = int(found.min()), int(found.max()) + 1
        forcing: Fields = self.source.read(first, stop)[found - first]
        empty = ~np.isfinite(forcing).any(axis=(2, 3))
        if empty.any():
            step, channel = np.argwhere(empty)[0]
            at = f"step {numbers[step]}" if times is None else as_text(times[step])
            raise DataError(
                f"{self.where}: the forcing {self.variables[channel].name!r} is missing (NaN) at every cell of {at}; "
                f"{purpose} needs it at every step up to {_last(times, numbers)}"
            )
        return forcing

    def _lacks(self, times: Times | None, lacking: NDArray[np.int64], numbers: Sequence[int], purpose: str) -> str:
        given, until = self.source.times, _last(times, numbers)
        advice = "add the steps to come (the other variables may be missing there), or give a smaller --horizon"
        if times is None or given is None:
            has = f"{self.source.steps} steps"
        elif times[lacking[0]] < given[0]:
            has, until = f"times from {as_text(given[0])} on", f"{until} from {as_text(times[0])} on"
            advice = "the frames that are known need it, too"
        elif times[lacking[0]] > given[-1]:
            has = f"times up to {as_text(given[-1])}"
        else:
            has, advice = f"none at {as_text(times[lacking[0]])}", "add it"
        names = ", ".join(variable.name for variable in self.variables)
        return (
            f"{self.where}: {purpose} needs the forcing {names} at every step up to {until}, but the file has {has}: "
            f"{advice}"
        )


def positions(wanted: Times, given: Times, step: np.timedelta64) -> NDArray[np.int64]:
    """Which of the given times each wanted one is, by the calendar for months and years; -1 where it is none.

    Args:
        wanted: any times.
        given: rising.
        step: the time step.
    """
    if given.size == 0:
        return np.full(wanted.size, -1)
    if is_monthly(step) or is_yearly(step):
        unit = "M" if is_monthly(step) else "Y"
        one, other = (times.astype(f"datetime64[{unit}]").astype(np.int64) for times in (wanted, given))
        near = 0.5
    else:
        one, other = (times.astype("datetime64[ns]").astype(np.int64) for times in (wanted, given))
        near = _NEAR * float(step.astype("timedelta64[ns]").astype(np.int64))
    after = np.clip(np.searchsorted(other, one), 0, other.size - 1)
    before = np.clip(after - 1, 0, None)
    closest = np.where(np.abs(other[before] - one) < np.abs(other[after] - one), before, after)
    return np.where(np.abs(other[closest] - one) <= near, closest, -1)


def state_of(source: FieldSource, pipeline: Pipeline) -> FieldSource:
    """An input without its forcing; a file may go on with the forcing where the state ends: such steps are left out."""
    state = select_fields(source, range(pipeline.state_channels))
    if not pipeline.forcing:
        return state
    steps = state.steps
    while steps > 1 and not np.isfinite(state.read(steps - 1, steps)).any():
        steps -= 1
    state.steps = steps
    if state.times is not None:
        state.times = state.times[:steps]
    return state


def _last(times: Times | None, numbers: Sequence[int]) -> str:
    return f"step {numbers[-1]}" if times is None else as_text(times[-1])
