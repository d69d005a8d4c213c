"""The members of an ensemble: runs, and for each of them starts that lag behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stkit.data.calendar import Times
from stkit.data.pipeline import Pipeline
from stkit.data.roles import SelectedFields
from stkit.data.source import FieldSource
from stkit.errors import DataError, UsageError
from stkit.evaluate import forecast_layout
from stkit.predict.context import same_step, step_words
from stkit.predict.forcing import Forcing, state_of
from stkit.predict.inputs import open_input, open_state
from stkit.run.load import TrainedForecaster, load


@dataclass(frozen=True)
class Member:
    """One forecast of each start.

    Attributes:
        run: the run directory.
        forecaster: its model.
        source: what the user's file is to that model: the state, then the forcing if it has it.
        fields: the state, up to its last value.
        forcing: of the frames that are known and of those to forecast; None where the model takes none.
        lag: steps that its last known frame lies before the start.
        region: how its region differs from that of its training; empty where it does not.
    """

    run: Path
    forecaster: TrainedForecaster
    source: FieldSource
    fields: FieldSource
    forcing: Forcing | None = None
    lag: int = 0
    region: str = ""

    @property
    def reach(self) -> int:
        """Frames up to the start that must be there."""
        return self.forecaster.pipeline.input_steps + self.lag

    @property
    def told(self) -> forecast_layout.Member:
        """For the file."""
        return told(self.run, self.forecaster, self.lag)


def open_members(runs: Sequence[Path], source: Path | None, device: str, forcing: Path | None = None) -> list[Member]:
    """Each run with the file as its data, all of them comparable.

    Args:
        runs: the run directories.
        source: the user's file; None: the first run's own data.
        device: where to compute.
        forcing: a file of its own for the forcing; None: the user's file has it, where a model takes some.

    Raises:
        UsageError: a run is named twice, or none takes the forcing that is given.
        DataError: a file does not fit a run, or the runs forecast other variables or time steps.
        CheckpointError: a run has no usable weights.
    """
    members: list[Member] = []
    for run, forecaster in open_runs(runs, device):
        pipeline = forecaster.pipeline
        opened = open_input(source, forecaster) if forcing is None else open_state(source, forecaster)
        same = next((other.source for other in members if _same_fields(other.source, opened)), opened)
        if forcing is None:
            members.append(Member(run, forecaster, same, state_of(same, pipeline), _beside(same, pipeline, source)))
            continue
        apart = Forcing.opened(forcing, forecaster) if pipeline.forcing else None
        members.append(Member(run, forecaster, same, same, apart))
    check_forcing(forcing, [member.forecaster for member in members])
    known = min(member.fields.steps for member in members)
    members = [replace(member, fields=_up_to(member.fields, known)) for member in members]
    for member in members:
        if forcing is not None and member.forcing is not None:
            member.forcing.check_grid(member.fields.grid, member.fields.name)
        _check_same_frames(members[0], member)
    return members


def open_runs(runs: Sequence[Path], device: str) -> list[tuple[Path, TrainedForecaster]]:
    """The forecaster of each run, all of them of the same variables and time step.

    Raises:
        UsageError: a run is named twice.
        DataError: the runs forecast other variables or time steps.
        CheckpointError: a run has no usable weights.
    """
    resolved = [run.resolve() for run in runs]
    for run, place in zip(runs, resolved, strict=True):
        if resolved.count(place) > 1:
            raise UsageError(f"{run}: named twice; an ensemble has each run once")
    opened = [(run, load(run, device=device)) for run in runs]
    for run, forecaster in opened[1:]:
        _check_same_forecast(opened[0], (run, forecaster))
    return opened


def check_forcing(path: Path | None, forecasters: Sequence[TrainedForecaster]) -> None:
    """Refuse forcing that nothing reads.

    Raises:
        UsageError: no model takes it.
    """
    if path is not None and not any(forecaster.pipeline.forcing for forecaster in forecasters):
        raise UsageError(f"--forcing {path}: the model takes no forcing: leave it out")


def told(run: Path, forecaster: TrainedForecaster, lag: int) -> forecast_layout.Member:
    """A member for the file."""
    recipe = forecaster.recipe
    model = recipe.model.name or recipe.model.cell.name
    words = f"{run.name} ({model}, seed {recipe.seed})" + (f", {lag} steps earlier" if lag else "")
    return forecast_layout.Member(words, lag)


def lagged(members: Sequence[Member], lags: int) -> list[Member]:
    """Each member from ``lags`` starts, one step apart: the start itself and those before it."""
    return [replace(member, lag=lag) for member in members for lag in range(lags)]


def _same_fields(one: FieldSource, other: FieldSource) -> bool:
    """Whether two were opened in the same way, so that one of them need not be kept in memory."""
    mine, theirs = (getattr(getattr(source, "whole", source), "config", None) for source in (one, other))
    names = [[variable.name for variable in source.variables] for source in (one, other)]
    return mine is not None and mine == theirs and names[0] == names[1]


def _beside(source: FieldSource, pipeline: Pipeline, path: Path | None) -> Forcing | None:
    return Forcing.beside(source, pipeline, str(path or source.name))


def _up_to(fields: FieldSource, steps: int) -> FieldSource:
    """Without the steps where another member's state has ended, and its file goes on with the forcing."""
    if fields.steps == steps:
        return fields
    shorter = SelectedFields(fields, range(len(fields.variables)), is_masked=True)
    shorter.steps = steps
    if shorter.times is not None:
        shorter.times = shorter.times[:steps]
    return shorter


def _check_same_forecast(first: tuple[Path, TrainedForecaster], other: tuple[Path, TrainedForecaster]) -> None:
    mine, theirs = first[1].pipeline, other[1].pipeline
    said = [", ".join(f"{v.name} [{v.units}]" for v in pipeline.variables) for pipeline in (mine, theirs)]
    if said[0] != said[1]:
        raise DataError(
            f"{other[0]} forecasts {said[1]}, but {first[0]} {said[0]}: members of an ensemble forecast the same"
        )
    if not _one_step(mine.step, theirs.step):
        words = [step_words(step) if step is not None else "no time" for step in (theirs.step, mine.step)]
        raise DataError(f"{other[0]} forecasts in steps of {words[0]}, but {first[0]} of {words[1]}")


def _check_same_frames(first: Member, other: Member) -> None:
    difference = first.fields.grid.difference(other.fields.grid)
    if difference:
        raise DataError(f"{other.run} reads another grid from the file than {first.run}: {difference}")
    if not _one_record(first.fields.times, other.fields.times):
        raise DataError(f"{other.run} reads other time steps from the file than {first.run}")


def _one_step(one: np.timedelta64 | None, other: np.timedelta64 | None) -> bool:
    return one is other if one is None or other is None else same_step(one, other)


def _one_record(one: Times | None, other: Times | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)
