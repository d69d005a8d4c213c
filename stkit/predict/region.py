"""A trained forecaster on another part of the grid than it was trained on, or on a larger one.

The weights of a network are the same in every cell, unless its recipe asks for weights of each cell. What else belongs
to cells is in the pipeline: the mask, climatologies, statistics of each cell. Within the grid of the training they are
cut out; elsewhere they are taken from the new fields where that is asked for and these are long enough, or there are
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stkit.data.box import Box
from stkit.data.calendar import Times, as_text
from stkit.data.elsewhere import belongs_to_cells, fitted_parts, fixed_parts, of_cells
from stkit.data.pipeline import Pipeline
from stkit.data.record import Record
from stkit.data.source import Axis, Grid
from stkit.data.transforms import Anomaly, Chosen, Only, Standardise, Transform, Transformed
from stkit.errors import DataError
from stkit.evaluate.baselines import Baseline, Climatology, DampedAnomaly
from stkit.evaluate.climatology import Climatology as Normal
from stkit.run.load import TrainedForecaster
from stkit.stacks.build import build_forecaster

_TOLERANCE = 0.01
"""Of the spacing of cells."""
_FEWEST_DAYS = 3 * 365
"""From which statistics of cells are taken: the climatology of one year knows no anomaly."""


class OnRegion(NamedTuple):
    """A forecaster for the grid of some fields."""

    forecaster: TrainedForecaster
    words: str
    """How it differs from the trained one, for the forecast's attributes; empty where it does not."""


def on_region(
    trained: TrainedForecaster, grid: Grid, seen: NDArray[np.bool_], where: str, record: Record | None = None
) -> OnRegion:
    """The forecaster for fields on ``grid``.

    Args:
        trained: as it was trained.
        grid: of the fields.
        seen: ``S H W``, the cells where the state counts, where the training does not say it.
        where: what messages call the fields.
        record: fields on ``grid`` that statistics of cells may be taken from; None: they may not.

    Raises:
        DataError: the spacing or the order of the cells is another, weights or statistics belong to the cells of the
            training, or the record is too short for new ones.
    """
    pipeline = trained.pipeline
    difference = pipeline.grid.difference(grid)
    if difference is None:
        return OnRegion(trained, "")
    box = _box_within(pipeline.grid, grid)
    told = f"{where}: its grid differs from the one the model was trained on: {difference}"
    if box is not None:
        moved = _cut(pipeline, grid, box)
        words = "a part of the grid of the training; mask and statistics of its cells are those of the training"
    else:
        _check_spacing(pipeline.grid, grid, told)
        moved, words = _elsewhere(pipeline, grid, seen, told, record)
    return OnRegion(_with(trained, moved, told), f"forecast on another region than the model was trained on: {words}")


def _with(trained: TrainedForecaster, pipeline: Pipeline, told: str) -> TrainedForecaster:
    """The same weights in a network for another grid."""
    own = trained.forecaster
    weights = own.state_dict()
    network = build_forecaster(
        trained.recipe.model,
        in_channels=own.in_channels,
        out_channels=own.state_channels,
        known_channels=own.known_channels,
        grid=pipeline.grid.shape,
        device=trained.device,
    )
    misfits = [name for name, tensor in network.state_dict().items() if weights[name].shape != tensor.shape]
    if misfits:
        raise DataError(
            f"{told}; {misfits[0]}{f' and {len(misfits) - 1} more' if len(misfits) > 1 else ''} of its weights belong "
            "to the cells of that grid (the recipe asks for weights of each cell), so it forecasts there only"
        )
    network.load_state_dict(weights)
    return TrainedForecaster(network, pipeline, trained.recipe, trained.trained_steps)


def _cut(pipeline: Pipeline, grid: Grid, box: Box) -> Pipeline:
    """What belongs to cells, of those in a box."""
    shape = pipeline.grid.shape
    departure = pipeline.departure
    rows, columns = box.slices
    known = pipeline.known_fields
    if known is not None:
        transforms = tuple(_cut_transform(part, shape, box) for part in known.transforms)
        known = replace(known, constant=known.constant[:, rows, columns], transforms=transforms)
    return replace(
        pipeline,
        grid=grid,
        valid=pipeline.valid[:, rows, columns],
        known_fields=known,
        transforms=tuple(_cut_transform(part, shape, box) for part in pipeline.transforms),
        departure=None
        if departure is None
        else type(departure).from_state(departure.settings(), _cropped(departure.state(), shape, box)),
    )


def _cut_transform(part: Transform, shape: tuple[int, int], box: Box) -> Transform:
    return type(part).from_state(part.settings(), _cropped(part.state(), shape, box))


def _elsewhere(
    pipeline: Pipeline, grid: Grid, seen: NDArray[np.bool_], told: str, record: Record | None
) -> tuple[Pipeline, str]:
    """A pipeline for cells that the training did not have, and how it was made."""
    targets = np.broadcast_to(seen.any(axis=0), (pipeline.targets, *grid.shape))
    valid = torch.from_numpy(np.concatenate([seen, targets])).to(pipeline.valid.device)
    fixed = fixed_parts(pipeline)
    if fixed:
        raise DataError(f"{told}; {fixed} belong to the cells of that grid: name a file within it")
    parts = fitted_parts(pipeline)
    if not parts:
        moved = replace(pipeline, grid=grid, valid=valid)
        return moved, "the mask is that of the new fields; all statistics are those of the training"
    if record is None:
        raise DataError(
            f"{told}; {' and '.join(parts)} belong to the cells of that grid. Name a file within it, or take them from "
            "the new file's frames up to the start with --refit, or train with statistics that every cell shares "
            "(transforms.anomaly: none, transforms.standardise: variable, departure_from: none, persistence or "
            "extrapolation)"
        )
    if pipeline.targets:
        names = ", ".join(variable.name for variable in pipeline.variables[pipeline.state_channels :])
        raise DataError(f"{told}; --refit cannot take the climatology of {names} from a file that does not give them")
    years = _span(record.times, told)
    fitted: tuple[Transform, ...] = ()
    for part in pipeline.transforms:
        fitted = (*fitted, _fitted(part, Transformed(record, fitted), pipeline.grid))
    departure = _fitted_departure(pipeline.departure, record)
    moved = replace(pipeline, grid=grid, valid=valid, transforms=fitted, departure=departure)
    return moved, f"{' and '.join(parts)} are those of the new fields in {years}, the rest is that of the training"


def _fitted(part: Transform, record: Record, grid: Grid) -> Transform:
    if not of_cells(part.state(), grid):
        return part
    if isinstance(part, Only):
        return Only(part.channels, _fitted(part.inner, Chosen(record, part.channels), grid))
    if isinstance(part, Anomaly):
        return Anomaly.fit(record, part.climatology.kind)
    assert isinstance(part, Standardise), "no other transform belongs to cells"
    return Standardise.fit(record, "cell")


def _fitted_departure(departure: Baseline | None, record: Record) -> Baseline | None:
    """Its climatology fitted anew; how fast anomalies fade is what the training said."""
    if not isinstance(departure, Climatology):
        return departure
    normal = Normal.fit(record, departure.normal.kind)
    kept = {"slope": departure.slope} if isinstance(departure, DampedAnomaly) else {}
    return type(departure).from_state(departure.settings(), {**normal.state(), **kept})


def _span(times: Times | None, told: str) -> str:
    if times is None or (times[-1] - times[0]) < np.timedelta64(_FEWEST_DAYS - 31, "D"):
        short = "have no times" if times is None else f"go from {as_text(times[0])} to {as_text(times[-1])} only"
        raise DataError(
            f"{told}; --refit takes a climatology from the frames up to the first start, but these {short}: "
            "three years are needed"
        )
    return f"{as_text(times[0])} to {as_text(times[-1])}"


def _cropped(state: Mapping[str, Tensor], shape: tuple[int, int], box: Box) -> dict[str, Tensor]:
    rows, columns = box.slices
    return {
        name: tensor[..., rows, columns] if belongs_to_cells(tensor, shape) else tensor
        for name, tensor in state.items()
    }


def _box_within(outer: Grid, inner: Grid) -> Box | None:
    """Where ``inner`` lies in ``outer``, by the coordinates; None where it does not, or there are none."""
    top, left = _offset(outer.y, inner.y), _offset(outer.x, inner.x)
    return None if top is None or left is None else Box(top, left, inner.height, inner.width)


def _offset(outer: Axis, inner: Axis) -> int | None:
    if outer.values is None or inner.values is None or inner.values.size > outer.values.size:
        return None
    first = int(np.abs(outer.values - inner.values[0]).argmin())
    part = outer.values[first : first + inner.values.size]
    if part.shape != inner.values.shape:
        return None
    tolerance = _TOLERANCE * float(np.abs(np.diff(outer.values)).min(initial=np.inf))
    return first if np.abs(part - inner.values).max() <= min(tolerance, np.finfo(np.float64).max) else None


def _check_spacing(trained: Grid, grid: Grid, told: str) -> None:
    """Weights learned on cells of one size mean nothing on those of another, or in another order."""
    for mine, theirs in ((trained.y, grid.y), (trained.x, grid.x)):
        if mine.values is None or theirs.values is None or mine.values.size < 2 or theirs.values.size < 2:
            continue
        known, given = (float(np.median(np.diff(values))) for values in (mine.values, theirs.values))
        if abs(given - known) > _TOLERANCE * abs(known):
            raise DataError(f"{told}; cells in {theirs.name} are {given:g} apart, those of the training {known:g}")
