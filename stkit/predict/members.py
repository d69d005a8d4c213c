"""The members of an ensemble: runs, and for each of them starts that lag behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stkit.data.calendar import Times
from stkit.data.source import FieldSource
from stkit.errors import DataError, UsageError
from stkit.evaluate import forecast_layout
from stkit.predict.context import same_step, step_words
from stkit.predict.forcing import state_of
from stkit.predict.inputs import open_input
from stkit.run.load import TrainedForecaster, load


@dataclass(frozen=True)
class Member:
    """One forecast of each start.

    Attributes:
        run: the run directory.
        forecaster: its model.
        source: what the user's file is to that model: the state, then the forcing.
        fields: the state, up to its last value.
        lag: steps that its last known frame lies before the start.
        region: how its region differs from that of its training; empty where it does not.
    """

    run: Path
    forecaster: TrainedForecaster
    source: FieldSource
    fields: FieldSource
    lag: int = 0
    region: str = ""

    @property
    def reach(self) -> int:
        """Frames up to the start that must be there."""
        return self.forecaster.pipeline.input_steps + self.lag

    @property
    def told(self) -> forecast_layout.Member:
        """For the file."""
        recipe = self.forecaster.recipe
        model = recipe.model.name or recipe.model.cell.name
        words = f"{self.run.name} ({model}, seed {recipe.seed})" + (f", {self.lag} steps earlier" if self.lag else "")
        return forecast_layout.Member(words, self.lag)


def open_members(runs: Sequence[Path], source: Path | None, device: str) -> list[Member]:
    """Each run with the file as its data, all of them comparable.

    Raises:
        UsageError: a run is named twice.
        DataError: the file does not fit a run, or the runs forecast other variables or time steps.
        CheckpointError: a run has no usable weights.
    """
    resolved = [run.resolve() for run in runs]
    for run, place in zip(runs, resolved, strict=True):
        if resolved.count(place) > 1:
            raise UsageError(f"{run}: named twice; an ensemble has each run once")
    members: list[Member] = []
    for run in runs:
        forecaster = load(run, device=device)
        opened = open_input(source, forecaster)
        same = next((other.source for other in members if _same_fields(other.source, opened)), opened)
        members.append(Member(run, forecaster, same, state_of(same, forecaster.pipeline)))
    for member in members[1:]:
        _check_comparable(members[0], member)
    return members


def lagged(members: Sequence[Member], lags: int) -> list[Member]:
    """Each member from ``lags`` starts, one step apart: the start itself and those before it."""
    return [replace(member, lag=lag) for member in members for lag in range(lags)]


def _same_fields(one: FieldSource, other: FieldSource) -> bool:
    """Whether two were opened in the same way, so that one of them need not be kept in memory."""
    mine, theirs = (getattr(getattr(source, "whole", source), "config", None) for source in (one, other))
    names = [[variable.name for variable in source.variables] for source in (one, other)]
    return mine is not None and mine == theirs and names[0] == names[1]


def _check_comparable(first: Member, other: Member) -> None:
    mine, theirs = first.forecaster.pipeline, other.forecaster.pipeline
    told = [", ".join(f"{v.name} [{v.units}]" for v in pipeline.variables) for pipeline in (mine, theirs)]
    if told[0] != told[1]:
        raise DataError(
            f"{other.run} forecasts {told[1]}, but {first.run} {told[0]}: members of an ensemble forecast the same"
        )
    if not _one_step(mine.step, theirs.step):
        words = [step_words(step) if step is not None else "no time" for step in (theirs.step, mine.step)]
        raise DataError(f"{other.run} forecasts in steps of {words[0]}, but {first.run} of {words[1]}")
    difference = first.fields.grid.difference(other.fields.grid)
    if difference:
        raise DataError(f"{other.run} reads another grid from the file than {first.run}: {difference}")
    if first.fields.steps != other.fields.steps or not _one_record(first.fields.times, other.fields.times):
        raise DataError(f"{other.run} reads other time steps from the file than {first.run}")


def _one_step(one: np.timedelta64 | None, other: np.timedelta64 | None) -> bool:
    return one is other if one is None or other is None else same_step(one, other)


def _one_record(one: Times | None, other: Times | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)
