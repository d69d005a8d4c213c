"""What is compared: trained recipes with all their seeds. Nothing here trains or forecasts.

Axes: ``F`` forecasts, ``S`` seeds, ``T`` test windows, ``L`` lead times, ``C`` variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from stkit.errors import DataError
from stkit.evaluate.metric import Array
from stkit.evaluate.window_errors import ErrorsLayout, RunErrors

MODEL = "model"
_ANCHOR = "persistence"
"""A baseline that nothing is fitted for: it is the same for all runs on the same data."""


@dataclass(frozen=True)
class Cost:
    """What a recipe costs; None where it is not known."""

    parameters: int | None = None
    flops: int | None = None
    """Floating-point operations of one forward pass over one window."""
    steps: tuple[int | None, ...] = ()
    """Optimiser steps of each seed's run."""
    seconds: tuple[float | None, ...] = ()
    """Seconds of training of each seed's run."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Group:
    """One recipe, trained with one or more seeds and scored on the same test windows."""

    name: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    """Run directory of each seed."""
    errors: tuple[RunErrors, ...]
    """Errors of each seed's run."""
    cost: Cost = field(default_factory=Cost)


def of_run(run: RunErrors, score: str, forecast: str) -> Array:
    """``T L C``: the losses of a forecast of one run."""
    chosen = run.errors.squared if score == "mse" else run.errors.absolute
    return np.asarray(chosen[run.layout.forecasts.index(forecast)])


def statistics_of(run: str, errors: RunErrors, score: str, forecast: str) -> Array:
    """``N T L C``: what a score of a forecast of one run is made of in each window.

    Raises:
        DataError: that was not kept.
    """
    kept = errors.statistics(score)
    if kept is None:
        known = ", ".join(dict.fromkeys(errors.layout.statistics)) or "none"
        raise DataError(
            f"{run}: does not keep of each window what {score} is made of (it keeps: {known}); name it in "
            f"evaluate.metrics, or score the run again with `stkit eval {run}`"
        )
    return np.moveaxis(kept[errors.layout.forecasts.index(forecast)], 1, 0)


def common_baselines(groups: Sequence[Group]) -> tuple[str, ...]:
    """The baselines that every run was scored beside, in the order of the first."""
    layouts = [errors.layout for group in groups for errors in group.errors]
    return tuple(
        name for name in layouts[0].forecasts if name != MODEL and all(name in layout.forecasts for layout in layouts)
    )


def check_comparable(groups: Sequence[Group]) -> list[str]:
    """Refuse runs that were not scored on the same windows and cells.

    Returns:
        Notes on what differs and does not hinder a comparison.

    Raises:
        DataError: other windows, other data or other cells; says of which run.
    """
    first, errors = groups[0].runs[0], groups[0].errors[0]
    notes: list[str] = []
    for run, other in [pair for group in groups for pair in zip(group.runs, group.errors, strict=True)][1:]:
        _same_windows(first, errors.layout, run, other.layout)
        _same_cells(first, errors, run, other)
        for name in set(errors.layout.forecasts) & set(other.layout.forecasts) - {MODEL}:
            if np.allclose(of_run(errors, "mse", name), of_run(other, "mse", name), rtol=1e-5, equal_nan=True):
                continue
            if name == _ANCHOR:
                raise DataError(f"{run}: persistence has other errors than in {first}: the data are not the same")
            notes.append(f"{name} is that of {first}; {run} had it fitted otherwise")
    return notes


def _same_windows(first: str, mine: ErrorsLayout, run: str, theirs: ErrorsLayout) -> None:
    if mine.windows_hash == theirs.windows_hash:
        return
    told = [_windows_text(layout) for layout in (mine, theirs)]
    raise DataError(
        f"{run}: other test windows than {first} (hash {theirs.windows_hash[:12]}: {told[1]}; "
        f"{mine.windows_hash[:12]}: {told[0]}); only runs on the same windows can be compared"
    )


def _windows_text(layout: ErrorsLayout) -> str:
    names = ", ".join(variable.name for variable in layout.variables)
    count = len(layout.starts)
    return f"{count} of {layout.input_steps} + {layout.horizon} steps, {names}"


def _same_cells(first: str, mine: RunErrors, run: str, theirs: RunErrors) -> None:
    same = np.isclose(mine.errors.weight, theirs.errors.weight, rtol=1e-6)
    if same.all():
        return
    differ = int((~same).any(axis=(1, 2)).sum())
    raise DataError(
        f"{run}: scored on other cells than {first} in {differ} of {mine.windows} test windows; score both beside the "
        f"same baselines (evaluate.baselines: {_names(theirs)} here, {_names(mine)} there)"
    )


def _names(run: RunErrors) -> str:
    return ", ".join(name for name in run.layout.forecasts if name != MODEL) or "none"


def weights(groups: Sequence[Group]) -> Array:
    """``T L C``: the weight of each window, the same for all."""
    return groups[0].errors[0].errors.weight
