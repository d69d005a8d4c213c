"""Frames as they arrive: files that appear in a folder, each with one frame or more.

A file that cannot be read yet may still be written: it is waited for, and told when it has not changed for a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stkit.data.calendar import Times
from stkit.data.source import Fields, FieldSource, Grid
from stkit.errors import UsageError
from stkit.predict.inputs import open_state
from stkit.predict.stream_forcing import ForcingLate
from stkit.run.load import TrainedForecaster

LOG = logging.getLogger("stkit.predict")

_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart")


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
    """How a file that could not be taken in looked."""

    file: str
    size: int
    changed: int
    since: float
    error: UsageError
    told: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether it is left alone until it changes itself."""
        return self.told and not isinstance(self.error, ForcingLate)


class Arrivals:
    """The new frames of a folder.

    Args:
        folder: where files arrive.
        pattern: of their names; hidden files and the usual endings of unfinished ones are left alone.
        forecaster: says how the files are read.
        patience_seconds: how long a file that cannot be read is waited for without a change.
        taken: names of files that have been taken in before.
        hold: keep back files that come, by their names, after one that is waited for.
        is_ready: refuses the times of a file, with :class:`ForcingLate`, while their forcing has not come.

    Raises:
        UsageError: there is no such folder, or the pattern is none.
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
        is_ready: Callable[[Times | None], None],
    ) -> None:
        if not folder.is_dir():
            raise UsageError(f"--stream {folder}: there is no such folder; name the one that the frames arrive in")
        try:
            next(folder.glob(pattern), None)
        except (ValueError, NotImplementedError):
            raise UsageError(f"--pattern {pattern!r}: expected names within the folder, such as '*.nc'") from None
        self.folder, self.pattern, self.patience_seconds = folder, pattern, patience_seconds
        self.taken, self.hold = taken, hold
        self._forecaster, self._is_ready = forecaster, is_ready
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
        """Tell the files that could not be taken in, without waiting for them."""
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
            if seen is not None and seen.is_refused and (seen.size, seen.changed) == _looks(path):
                continue
            try:
                source = open_state(path, self._forecaster)
                self._is_ready(source.times)
                found.append((path, source))
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
            seen = self._unread[path.name] = _Seen(path.name, size, changed, time.monotonic(), error)
        if not seen.told and time.monotonic() - seen.since >= self.patience_seconds:
            _tell(seen)
        return seen.told


def _tell(seen: _Seen) -> None:
    seen.told = True
    if isinstance(seen.error, ForcingLate):
        LOG.warning("%s: waits for its forcing: %s", seen.file, seen.error)
    else:
        LOG.warning("left out until it changes: %s", seen.error)


def _looks(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _first_time(arrival: tuple[Path, FieldSource]) -> tuple[np.int64, str]:
    path, source = arrival
    return np.int64(0) if source.times is None else source.times[0].astype(np.int64), path.name
