"""Which frames forecasts start from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, as_text, breaks
from stkit.data.source import FieldSource
from stkit.errors import DataError, UsageError

LOG = logging.getLogger("stkit.predict")

_BETWEEN = ".."


def find_starts(fields: FieldSource, asked: Sequence[str], every: int, known: int, where: str | Path) -> list[int]:
    """Indices of the last known frames, in order, each once.

    Args:
        fields: what is known.
        asked: for each a time (the last frame within it), a span such as ``2010-01..2010-12``, or the number of a frame
            where there are no times; none: the last frame.
        every: steps between the starts of a span.
        known: frames that must be there up to a start.
        where: what messages call the fields.

    Raises:
        UsageError: a start is no time.
        DataError: there is no such frame, or too few before it.
    """
    if every != 1 and not any(_BETWEEN in start for start in asked):
        raise UsageError(f"--every {every}: it is for a span of starts such as --start 2010-01..2010-12")
    found: set[int] = set()
    for start in asked or (None,):
        if start is not None and _BETWEEN in start:
            found |= _within(fields, start, every, known, where)
            continue
        last = fields.steps - 1 if start is None else int(_named(fields, start, where)[-1])
        if last + 1 < known:
            before = f" up to {start}" if start else ""
            raise DataError(f"{where}: has {last + 1} time steps{before}, but the model needs {known} to start from")
        found.add(last)
    return sorted(found)


def _within(fields: FieldSource, span: str, every: int, known: int, where: str | Path) -> set[int]:
    """The frames of a span that have enough frames without a gap before them; those that have not are told."""
    first, _, last = span.partition(_BETWEEN)
    begin, end = _edge(fields, first.strip(), where, 0), _edge(fields, last.strip(), where, -1)
    if begin > end:
        raise DataError(f"--start {span}: {where} has no frame there{_range(fields)}")
    chosen = list(range(begin, end + 1, every))
    jumps = [] if fields.times is None else [int(at) for at in breaks(fields.times)]
    possible = {
        start for start in chosen if start + 1 >= known and not any(start + 1 - known <= at < start for at in jumps)
    }
    if not possible:
        raise DataError(
            f"--start {span}: none of the {len(chosen)} frames there has the {known} consecutive frames that the model "
            f"needs to start from in {where}"
        )
    if len(possible) < len(chosen):
        LOG.warning(
            "--start %s: %d of %d starts are left out: fewer than %d consecutive frames lead up to them",
            span,
            len(chosen) - len(possible),
            len(chosen),
            known,
        )
    return possible


def _edge(fields: FieldSource, text: str, where: str | Path, side: int) -> int:
    """The first frame at or after what is named, or the last one at or before it."""
    if fields.times is None:
        return int(_named(fields, text, where)[side])
    begin, end = _period(text)
    if side == 0:
        return int(np.searchsorted(fields.times, begin))
    return int(np.searchsorted(fields.times, end)) - 1


def _named(fields: FieldSource, start: str, where: str | Path) -> NDArray[np.int64]:
    """The frames within the year, month, day or second that is named."""
    if fields.times is None:
        if not start.isdecimal() or int(start) >= fields.steps:
            raise DataError(
                f"--start {start}: {where} has no times, so give the number of a frame, 0 to {fields.steps - 1}"
            )
        return np.array([int(start)])
    begin, end = _period(start)
    inside = np.flatnonzero((fields.times >= begin) & (fields.times < end))
    if inside.size == 0:
        nearest = as_text(_nearest(fields.times, begin))
        raise DataError(f"--start {start}: {where} has no frame there{_range(fields)}, the nearest is {nearest}")
    return inside


def _period(text: str) -> tuple[np.datetime64, np.datetime64]:
    """The whole month, day or hour that is named."""
    try:
        begin = np.datetime64(text)
        if np.isnat(begin):
            raise ValueError(text)
    except ValueError:
        raise UsageError(
            f"--start {text!r}: expected a time such as 2010-06 or 2010-06-16T12:00, or a span 2010-01..2010-12"
        ) from None
    return begin.astype("datetime64[ns]"), (begin + 1).astype("datetime64[ns]")


def _range(fields: FieldSource) -> str:
    if fields.times is None:
        return ""
    return f"; its frames go from {as_text(fields.times[0])} to {as_text(fields.times[-1])}"


def _nearest(times: Times, wanted: np.datetime64) -> np.datetime64:
    distance = np.abs((times - wanted).astype(np.int64))
    nearest: np.datetime64 = times[int(distance.argmin())]
    return nearest
