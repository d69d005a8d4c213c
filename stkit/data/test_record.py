"""A test part that is a record of its own: another event, another radar, another sea."""

from __future__ import annotations

import numpy as np
import torch

from stkit.data.elsewhere import elsewhere
from stkit.data.pipeline import Pipeline
from stkit.data.roles import roles_of, select_fields
from stkit.data.source import FieldSource
from stkit.data.split import Span, Spans
from stkit.data.units import same_units
from stkit.data.windows import FieldWindows
from stkit.errors import DataError
from stkit.recipe.sections.data import DataConfig


def windows_of_test_record(
    config: DataConfig, whole: FieldSource, pipeline: Pipeline, trained: FieldSource, spans: Spans
) -> FieldWindows:
    """The windows of all of a record, seen as the training's pipeline sees fields.

    Args:
        config: what is asked for.
        whole: the record.
        pipeline: fitted on the training part.
        trained: the record that training and validation are cut from.
        spans: these two.

    Raises:
        DataError: its variables, units or time step are others; it holds what was trained or validated on; it is too
            short; or its grid is another and something in the pipeline belongs to cells.
    """
    where = f"data.test_dataset ({whole.name})"
    roles = roles_of(config.roles, whole.variables, where)
    tested = select_fields(whole, roles.forecast)
    forcing = select_fields(whole, roles.forcing, is_masked=False) if roles.forcing else None
    _check_variables(tested, trained, where)
    if tested.step_name != trained.step_name:
        raise DataError(
            f"{where}: its time step is {tested.step_name}, but that of the training ({trained.name}) "
            f"{trained.step_name}"
        )
    difference = pipeline.grid.difference(tested.grid)
    if difference:
        valid = torch.from_numpy(np.broadcast_to(tested.valid, (len(tested.variables), *tested.grid.shape)).copy())
        told = f"{where}: its grid differs from that of the training: {difference}"
        pipeline = elsewhere(pipeline, tested.grid, valid, told)
    else:
        _check_apart(tested, trained, spans, where)
    return FieldWindows(tested, "test", Span(0, tested.steps), pipeline, config.window_stride, forcing)


def _check_variables(tested: FieldSource, trained: FieldSource, where: str) -> None:
    mine, theirs = ([variable.name for variable in source.variables] for source in (tested, trained))
    if mine != theirs:
        raise DataError(
            f"{where}: its variables are {', '.join(mine)}, but those of the training ({trained.name}) "
            f"{', '.join(theirs)}"
        )
    for variable, known in zip(tested.variables, trained.variables, strict=True):
        if not same_units(variable.units, known.units):
            raise DataError(
                f"{where}: {variable.name} is in {variable.units!r}, but in the training ({trained.name}) in "
                f"{known.units!r}"
            )


def _check_apart(tested: FieldSource, trained: FieldSource, spans: Spans, where: str) -> None:
    if tested.times is None or trained.times is None:
        return
    for part, span in spans.items():
        common = np.intersect1d(tested.times, trained.times[span.start : span.stop]).size
        if common:
            raise DataError(f"{where}: {common} of its time steps are in the {part} part, on the same grid")
