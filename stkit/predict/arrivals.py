"""Frames as they arrive: files that appear in a folder, each with one frame or more.

A file that cannot be read yet may still be written: it is waited for, and told when it has not changed for a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stkit.data.calendar import Times, following, is_monthly, is_yearly
from stkit.data.source import Fields, FieldSource, Grid
from stkit.errors import UsageError
from stkit.predict.inputs import open_input
from stkit.run.load import TrainedForecaster

LOG = logging.getLogger("stkit.predict")

_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart")
_JITTER = 0.1
"""Of a time step: how far a frame may lie from the regular time."""
_CALENDAR_JITTER = 0.2
"""The same for months and years, whose length and middle differ."""


class Frame(NamedTuple):
    """One frame that came."""

    file: str
    """The name of its file."""
    last_of_file: bool
    """Whether it is the last frame of it."""
    grid: Grid
    time: np.datetime64 | None
    fields: Fields
    """``1 S H W``."""


@dataclass
class _Seen:
    """How a file that could not be read looked."""

    size: int
    changed: int
    since: float
    error: str
    told: bool = False


class Arrivals:
    """The new frames of a folder.

    Args:
        folder: where files arrive.
        pattern: of their names; hidden files and the usual endings of unfinished ones are left alone.
        forecaster: says how the files are read.
        patience_seconds: how long a file that cannot be read is waited for without a change.
        taken: names of files that have been taken in before.
        hold: keep back files that come, by their names, after one that is waited for.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(
        self,
        folder: Path,
        pattern: str,
        forecaster: TrainedForecaster,
        patience_seconds: float,
        taken: set[str],
        *,
        hold: bool,
    ) -> None:
        if not folder.is_dir():
            raise UsageError(f"--stream {folder}: there is no such folder; name the one that the frames arrive in")
        self.folder, self.pattern, self.patience_seconds = folder, pattern, patience_seconds
        self.taken, self.hold = taken, hold
        self._forecaster = forecaster
        self._unread: dict[str, _Seen] = {}

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are there now and have not been taken, in order of their times (or of the files' names)."""
        for path, source in self._readable():
            try:
                fields = [source.read(step, step + 1) for step in range(source.steps)]
            except UsageError as error:
                if not self._note(path, error) and self.hold:
                    return
                continue
            self._unread.pop(path.name, None)
            for step, frame in enumerate(fields):
                when = None if source.times is None else source.times[step]
                yield Frame(path.name, step == source.steps - 1, source.grid, when, frame)
            self.taken.add(path.name)

    def tell_unread(self) -> None:
        """Tell the files that could not be read, without waiting for them."""
        for seen in self._unread.values():
            if not seen.told:
                _tell(seen)

    def _readable(self) -> list[tuple[Path, FieldSource]]:
        found: list[tuple[Path, FieldSource]] = []
        waited_for: list[str] = []
        for path in sorted(self.folder.glob(self.pattern)):
            if path.name in self.taken or path.name.startswith(".") or path.name.endswith(_UNFINISHED):
                continue
            seen = self._unread.get(path.name)
            if seen is not None and seen.told and (seen.size, seen.changed) == _looks(path):
                continue
            try:
                found.append((path, open_input(path, self._forecaster)))
            except UsageError as error:
                if not self._note(path, error):
                    waited_for.append(path.name)
        if self.hold and waited_for:
            found = [(path, source) for path, source in found if path.name < min(waited_for)]
        return sorted(found, key=_first_time)

    def _note(self, path: Path, error: UsageError) -> bool:
        """It could not be read: wait while it changes, tell it when it has not for long. Returns whether it is told."""
        size, changed = _looks(path)
        seen = self._unread.get(path.name)
        if seen is None or (seen.size, seen.changed) != (size, changed):
            seen = self._unread[path.name] = _Seen(size, changed, time.monotonic(), str(error))
        if not seen.told and time.monotonic() - seen.since >= self.patience_seconds:
            _tell(seen)
        return seen.told


def _tell(seen: _Seen) -> None:
    seen.told = True
    LOG.warning("left out until it changes: %s", seen.error)


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


def _looks(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _first_time(arrival: tuple[Path, FieldSource]) -> tuple[np.int64, str]:
    path, source = arrival
    return np.int64(0) if source.times is None else source.times[0].astype(np.int64), path.name
