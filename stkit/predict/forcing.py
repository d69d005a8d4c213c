"""What a forecast is given for its own times."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stkit.data.calendar import Times, as_text
from stkit.data.pipeline import Pipeline
from stkit.data.roles import select_fields
from stkit.data.source import Fields, FieldSource
from stkit.errors import DataError


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


def forcing_of(
    source: FieldSource, last: int, valid: Times | None, ahead: int, pipeline: Pipeline, path: str | Path
) -> Fields | None:
    """The forcing of the context and of the frames to forecast, from an input: ``T+ahead F H W``.

    Args:
        source: the state and the forcing.
        last: the last known frame.
        valid: ``ahead`` times of the frames to forecast; None where there are none.
        ahead: frames to forecast.
        pipeline: of the model.
        path: what messages call the input.

    Raises:
        DataError: if the input does not reach as far, or has no value there.
    """
    if not pipeline.forcing:
        return None
    names = ", ".join(variable.name for variable in pipeline.forcing)
    first, stop = last + 1 - pipeline.input_steps, last + 1 + ahead
    until = f"step {stop - 1}" if valid is None else as_text(valid[-1])
    if stop > source.steps or (valid is not None and _off(source, last, valid, pipeline)):
        has = f"{source.steps} steps" if source.times is None else f"times up to {as_text(source.times[-1])}"
        raise DataError(
            f"{path}: a forecast of {ahead} steps needs the forcing {names} at every step up to {until}, but the file "
            f"has {has}: add the steps to come (the other variables may be missing there), give an earlier --start, "
            "or a smaller --horizon"
        )
    forcing = source.read_variables(first, stop, range(pipeline.state_channels, len(source.variables)))
    empty = ~np.isfinite(forcing).any(axis=(2, 3))
    if empty.any():
        step, channel = np.argwhere(empty)[0]
        at = str(first + step) if source.times is None else as_text(source.times[first + step])
        raise DataError(
            f"{path}: the forcing {pipeline.forcing[channel].name!r} is missing (NaN) at every cell of {at}; a "
            f"forecast of {ahead} steps needs it at every step up to {until}"
        )
    return forcing


def _off(source: FieldSource, last: int, valid: Times, pipeline: Pipeline) -> bool:
    """Whether the input's times after the start are not those that are forecast."""
    assert source.times is not None
    assert pipeline.step is not None
    given = source.times[last + 1 : last + 1 + len(valid)]
    return bool((np.abs((given - valid).astype(np.int64)) > 0.5 * pipeline.step.astype(np.int64)).any())
