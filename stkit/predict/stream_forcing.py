"""The forcing of a stream: a file that is written anew as forecasts of it arrive, and what was read of it before.

Axes: ``T`` time, ``F`` forcing, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stkit.data.calendar import Times
from stkit.data.source import Fields, Grid
from stkit.errors import DataError
from stkit.predict.forcing import Forcing, positions
from stkit.run.load import TrainedForecaster


class ForcingLate(DataError):
    """The file does not reach as far as a forecast yet."""


class StreamForcing:
    """The forcing of one model, by time.

    A file of forcing may begin where its newest forecast begins: what was read of it before is kept for as long as the
    stream can need it.

    Args:
        path: the file, or a pattern; it is opened anew when it has changed.
        forecaster: the model.
        kept_steps: how many steps before the newest frame may be asked for.

    Raises:
        DataError: the file is not such as the model was trained on.
    """

    def __init__(self, path: Path, forecaster: TrainedForecaster, kept_steps: int) -> None:
        step = forecaster.pipeline.step
        assert step is not None, "frames have times"
        self.path, self.kept_steps, self._step = path, kept_steps, step
        self._forecaster = forecaster
        self._looks = _looks(path)
        self._forcing = Forcing.opened(path, forecaster)
        self.times: Times = np.array([], dtype="datetime64[ns]")
        self.fields: Fields = np.zeros((0, len(self._forcing.variables), *self._forcing.source.grid.shape), np.float32)

    def refresh(self) -> None:
        """Open the file anew if it has changed. One that cannot be read is being written: the old one stays.

        Raises:
            ForcingLate: it cannot be read.
        """
        looks = _looks(self.path)
        if looks == self._looks:
            return
        try:
            self._forcing = Forcing.opened(self.path, self._forecaster)
        except DataError as error:
            raise ForcingLate(str(error)) from error
        self._looks = looks

    def check_grid(self, grid: Grid) -> None:
        """Refuse frames on another grid.

        Raises:
            DataError: saying how it differs.
        """
        self._forcing.check_grid(grid, "the frames")

    def at(self, times: Times, purpose: str) -> Fields:
        """The forcing of some times, ``T F H W``: as the file has it now, else as it had it before.

        Raises:
            ForcingLate: it never had it.
        """
        given = self._forcing.source.times
        assert given is not None, "checked when it was opened"
        old = positions(times, self.times, self._step)
        now = positions(times, given, self._step)
        asked = times[(now >= 0) | (old < 0)]
        try:
            read = self._forcing.at(asked, range(asked.size), purpose) if asked.size else self.fields[:0]
        except DataError as error:
            raise ForcingLate(str(error)) from error
        found = np.empty((times.size, *self.fields.shape[1:]), np.float32)
        is_read = np.isin(times, asked)
        found[is_read] = read
        found[~is_read] = self.fields[old[~is_read]]
        return found

    def keep(self, times: Times, now: np.datetime64) -> None:
        """Remember the forcing of some times, and forget what lies further back than is needed."""
        fields = self.at(times, "")
        new = positions(self.times, times, self._step) < 0
        recent = new & (self.times > now - (self.kept_steps + 1) * self._step)
        self.restore(np.concatenate([self.times[recent], times]), np.concatenate([self.fields[recent], fields]))

    @property
    def kept(self) -> tuple[Times, Fields]:
        """What was kept, for :meth:`restore`."""
        return self.times, self.fields

    def restore(self, times: Times, fields: Fields) -> None:
        """Go on from what was kept."""
        order = np.argsort(times)
        self.times, self.fields = times[order], fields[order]


def _looks(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change of the files that a path or a pattern means."""
    files = [path] if path.exists() else sorted(path.parent.glob(path.name))
    return [(file.name, (told := file.stat()).st_size, told.st_mtime_ns) for file in files]
