"""A pipeline on another grid than it was fitted on: what of it belongs to the cells of that grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jaxtyping import Bool
from torch import Tensor

from stkit.data.pipeline import Pipeline
from stkit.data.source import Grid
from stkit.data.transforms import Only, Transform
from stkit.errors import DataError


def elsewhere(pipeline: Pipeline, grid: Grid, valid: Bool[Tensor, "C H W"], told: str) -> Pipeline:
    """The same for fields on another grid.

    Args:
        pipeline: as it was fitted.
        grid: of the other fields.
        valid: the cells that count there.
        told: the beginning of the message.

    Raises:
        DataError: something in it belongs to the cells that it was fitted on.
    """
    fixed, fitted = fixed_parts(pipeline), fitted_parts(pipeline)
    if fixed:
        raise DataError(f"{told}; {fixed} belong to the cells of the training")
    if fitted:
        raise DataError(
            f"{told}; {' and '.join(fitted)} belong to the cells of the training. Train with what every cell shares: "
            "transforms.anomaly: none, transforms.standardise: variable, departure_from: none, persistence or "
            "extrapolation"
        )
    return replace(pipeline, grid=grid, valid=valid)


def fixed_parts(pipeline: Pipeline) -> str:
    """What belongs to cells and no other fields can stand in for, in words; empty where there is nothing."""
    known = pipeline.known_fields
    if known is None:
        return ""
    if known.static:
        return f"the static variables {', '.join(variable.name for variable in known.static)}"
    parts = _parts(known.transforms, pipeline.grid)
    return f"{' and '.join(parts)} of the forcing" if parts else ""


def fitted_parts(pipeline: Pipeline) -> list[str]:
    """What belongs to cells and could be fitted anew to other fields, in words."""
    parts = _parts(pipeline.transforms, pipeline.grid)
    departure = pipeline.departure
    if departure is not None and of_cells(departure.state(), pipeline.grid):
        parts.append(f"the climatology that departures are counted from (departure_from: {departure.name})")
    return parts


def of_cells(state: Mapping[str, Tensor], grid: Grid) -> bool:
    """Whether a fitted part has a value for each cell of its grid."""
    return any(belongs_to_cells(tensor, grid.shape) for tensor in state.values())


def belongs_to_cells(tensor: Tensor, shape: tuple[int, int]) -> bool:
    """Whether a tensor has a value for each cell of a grid of that shape."""
    return tensor.ndim >= 3 and tuple(tensor.shape[-2:]) == shape


def _parts(transforms: tuple[Transform, ...], grid: Grid) -> list[str]:
    names = {"anomaly": "the climatology (transforms.anomaly)", "standardise": "mean and deviation of each cell"}
    kinds = [_inner(part).kind for part in transforms if of_cells(part.state(), grid)]
    return list(dict.fromkeys(names.get(kind, kind) for kind in kinds))


def _inner(part: Transform) -> Transform:
    return part.inner if isinstance(part, Only) else part
