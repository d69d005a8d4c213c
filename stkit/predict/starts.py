"""Which frames forecasts start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stkit.data.calendar import Times, as_text
from stkit.data.source import FieldSource
from stkit.errors import DataError, UsageError


def find_start(fields: FieldSource, start: str | None, known: int, path: Path) -> int:
    """Index of the last known frame.

    Raises:
        UsageError: ``start`` is no time.
        DataError: there is no such frame, or too few before it.
    """
    last = fields.steps - 1 if start is None else _find(fields, start, path)
    if last + 1 < known:
        before = "" if start is None else f" up to {start}"
        raise DataError(f"{path}: has {last + 1} time steps{before}, but the model needs {known} to start from")
    return last


def _find(fields: FieldSource, start: str, path: Path) -> int:
    if fields.times is None:
        if not start.isdecimal() or int(start) >= fields.steps:
            raise DataError(
                f"--start {start}: {path} has no times, so give the number of a frame, 0 to {fields.steps - 1}"
            )
        return int(start)
    try:
        begin = np.datetime64(start)
        if np.isnat(begin):
            raise ValueError(start)
    except ValueError:
        raise UsageError(f"--start {start!r}: expected a time such as 2010-06 or 2010-06-16T12:00") from None
    # The whole month, day or hour that is named; its last frame counts.
    end = (begin + 1).astype("datetime64[ns]")
    inside = np.flatnonzero((fields.times >= begin.astype("datetime64[ns]")) & (fields.times < end))
    if inside.size == 0:
        raise DataError(
            f"--start {start}: {path} has no frame there; its frames go from {as_text(fields.times[0])} "
            f"to {as_text(fields.times[-1])}, the nearest is {as_text(_nearest(fields.times, begin))}"
        )
    return int(inside[-1])


def _nearest(times: Times, wanted: np.datetime64) -> np.datetime64:
    distance = np.abs((times - wanted.astype("datetime64[ns]")).astype(np.int64))
    nearest: np.datetime64 = times[int(distance.argmin())]
    return nearest
