"""Whether known frames are such as a model was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stkit.data.calendar import Times, as_text, following, is_monthly, is_yearly, step_name, typical_step
from stkit.data.source import Fields
from stkit.errors import DataError

if TYPE_CHECKING:
    from stkit.data.pipeline import Pipeline

_STEP_TOLERANCE = 0.01
_JITTER = 0.1
"""Of a time step: how far a frame may lie from the regular time."""
_CALENDAR_JITTER = 0.2
"""The same for months and years, whose length and middle differ."""


def check_context(
    context: Fields, times: Times | None, every_time: Times | None, pipeline: Pipeline, path: str | Path
) -> None:
    """Refuse frames that a model cannot start from.

    Args:
        context: ``T C H W``, physical units.
        times: of these frames; None where there are none.
        every_time: of all frames of the file.
        pipeline: of the model.
        path: what messages call the file.

    Raises:
        DataError: there are no times, a frame is missing, the time step is another, or a variable has no value.
    """
    if pipeline.step is not None and times is None:
        raise DataError(f"{path}: has no times that can be understood, but the model was trained on fields with times")
    valid = pipeline.valid.cpu().numpy()
    for channel, variable in enumerate(pipeline.variables[: pipeline.state_channels]):
        if not np.isfinite(context[:, channel][:, valid[channel]]).any():
            raise DataError(
                f"{path}: {variable.name!r} is missing (NaN) at every cell of the {len(context)} frames "
                "that the forecast would start from"
            )
    if times is None or pipeline.step is None:
        return
    given = None if every_time is None else typical_step(every_time)
    fits = [same_step(step, pipeline.step) for step in np.diff(times)]
    if any(fits) and not all(fits):
        at = fits.index(False)
        raise DataError(
            f"{path}: between {as_text(times[at])} and {as_text(times[at + 1])} frames are missing; the model needs "
            f"{len(times)} consecutive ones"
        )
    if given is not None and not same_step(given, pipeline.step):
        trained = step_words(pipeline.step)
        raise DataError(
            f"{path}: its time step is {step_words(given)}, but the model was trained on steps of one {trained}"
        )


def same_step(one: np.timedelta64, other: np.timedelta64) -> bool:
    """Whether two time steps are one; a month is a month, however long."""
    if is_monthly(one) or is_yearly(one):
        return is_monthly(one) == is_monthly(other) and is_yearly(one) == is_yearly(other)
    return bool(abs(one / other - 1.0) < _STEP_TOLERANCE)


def steps_between(last: np.datetime64, time: np.datetime64, step: np.timedelta64) -> int | None:
    """How many steps lie from one frame to another, by the calendar for months and years.

    Returns:
        0 or less where ``time`` is not after ``last``; None where it lies between two steps.
    """
    if not (is_monthly(step) or is_yearly(step)):
        exact = float((time - last) / step)
        return round(exact) if abs(exact - round(exact)) <= _JITTER else None
    unit = "M" if is_monthly(step) else "Y"
    count = int((time.astype(f"datetime64[{unit}]") - last.astype(f"datetime64[{unit}]")).astype(int))
    if count <= 0:
        return count if time <= last else None
    regular: Times = following(last, count, step)
    return count if abs((time - regular[-1]) / step) <= _CALENDAR_JITTER else None


def step_words(step: np.timedelta64) -> str:
    """A time step in words."""
    return step_name(np.array([0, step.astype("timedelta64[ns]").astype(np.int64)], dtype="datetime64[ns]"))
