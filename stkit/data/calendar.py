"""Times of a record: the regular step, the season, and the steps that follow.

Times are ``numpy.datetime64[ns]`` arrays of any shape. Months differ in length, so a monthly record is regular in
months and not in days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stkit.errors import DataError

if TYPE_CHECKING:
    Times = NDArray[np.datetime64]
else:
    Times = np.ndarray  # a checker at run time would take datetime64[ns] for something else than datetime64

_MINUTE = np.timedelta64(1, "m")
_HOUR = np.timedelta64(1, "h")
_DAY = np.timedelta64(1, "D")


def month_index(times: Times) -> NDArray[np.int64]:
    """Calendar month, 0 (January) to 11."""
    return times.astype("datetime64[M]").astype(np.int64) % 12


def year_phase(times: Times) -> NDArray[np.float64]:
    """The share of the calendar year that has passed, in [0, 1)."""
    year = times.astype("datetime64[Y]")
    start = year.astype("datetime64[ns]")
    length = (year + 1).astype("datetime64[ns]") - start
    return np.asarray((times.astype("datetime64[ns]") - start) / length, dtype=np.float64)


def typical_step(times: Times) -> np.timedelta64 | None:
    """Median distance of neighbouring times; None for fewer than two."""
    if times.size < 2:
        return None
    return np.timedelta64(int(np.median(np.diff(times.astype("datetime64[ns]")).astype(np.int64))), "ns")


def is_monthly(step: np.timedelta64) -> bool:
    """Whether a typical step is a calendar month."""
    return bool(28 * _DAY <= step <= 31 * _DAY)


def is_yearly(step: np.timedelta64) -> bool:
    """Whether a typical step is a calendar year."""
    return bool(365 * _DAY <= step <= 366 * _DAY)


def step_name(times: Times | None) -> str:
    """The step in words: ``month``, ``day``, ``6 h``, ``5 min``; ``step`` where there is no time or only one."""
    step = typical_step(times) if times is not None else None
    if step is None:
        return "step"
    if is_monthly(step):
        return "month"
    if is_yearly(step):
        return "year"
    for unit, one, many in ((_DAY, "day", "days"), (_HOUR, "hour", "h"), (_MINUTE, "minute", "min")):
        if step % unit == np.timedelta64(0, "ns"):
            count = int(step / unit)
            return one if count == 1 else f"{count} {many}"
    return f"{step / np.timedelta64(1, 's'):g} s"


def breaks(times: Times) -> NDArray[np.int64]:
    """Positions ``i`` after which the record jumps: the step to ``i + 1`` differs from the typical one by over half."""
    step = typical_step(times)
    if step is None:
        return np.zeros(0, dtype=np.int64)
    ratio = np.diff(times.astype("datetime64[ns]")) / step
    return np.flatnonzero((ratio < 0.5) | (ratio > 1.5))


def following(last: Times | np.datetime64, count: int, step: np.timedelta64) -> Times:
    """The ``count`` times after ``last``.

    Args:
        last: any shape ``...``.
        count: how many.
        step: the record's typical step; a monthly or yearly one goes by the calendar, the day of the month stays
            where that month has it and is its last day otherwise.

    Returns:
        ``... count``.
    """
    last = np.asarray(last, dtype="datetime64[ns]")[..., None]
    ahead = np.arange(1, count + 1)
    if not (is_monthly(step) or is_yearly(step)):
        return np.asarray(last + ahead * step.astype("timedelta64[ns]"))
    months = ahead * (12 if is_yearly(step) else 1)
    month = last.astype("datetime64[M]")
    within = last - month.astype("datetime64[ns]")
    target = month + months
    longest = (target + 1).astype("datetime64[ns]") - target.astype("datetime64[ns]") - _DAY
    days = np.minimum(within.astype("timedelta64[D]"), longest.astype("timedelta64[D]"))
    return np.asarray(target.astype("datetime64[ns]") + days + within % _DAY)


def as_text(time: Any) -> str:
    """A time as a person writes it: without the parts that are zero."""
    text = str(np.datetime64(time, "s"))
    return text.removesuffix("T00:00:00").removesuffix(":00")


def check_times(times: Times, where: str, allow_gaps: bool = False) -> None:
    """Times must exist, rise, and have one step (calendar months and years count as one step).

    Raises:
        DataError: with the first place where they do not.
    """
    if np.isnat(times).any():
        raise DataError(f"{where}: time {int(np.flatnonzero(np.isnat(times))[0])} (from 0) is missing")
    steps = np.diff(times).astype(np.int64)
    wrong = np.flatnonzero(steps <= 0)
    if wrong.size:
        at = int(wrong[0])
        kind = "twice" if steps[at] == 0 else "out of order"
        raise DataError(
            f"{where}: times must strictly increase, but {as_text(times[at + 1])} (number {at + 1}, from 0) comes "
            f"{kind}, after {as_text(times[at])}"
        )
    jumps = breaks(times)
    if jumps.size and not allow_gaps:
        at = int(jumps[0])
        raise DataError(
            f"{where}: the time step is {step_name(times)}, but {as_text(times[at])} is followed by "
            f"{as_text(times[at + 1])} ({jumps.size} such places); fill them, or leave out the windows that cross "
            "them with 'allow_gaps: true'"
        )
