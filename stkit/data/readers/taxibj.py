"""TaxiBJ: Zhang, Zheng and Qi (2017), Deep Spatio-Temporal Residual Networks for Citywide Crowd Flows Prediction,
arXiv:1610.00081.

``data`` N 2 32 32 (inflow, outflow) and ``date`` N, such as ``2013070101``: the day, and the half hour from 1 to 48.
The archive of windows that benchmarks pass round has ``X_train``, ``Y_train``, ``X_test`` and ``Y_test``, N 4 2 32 32
each, scaled so that the least flow is -1 and the largest 1.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import numpy as np

from stkit.data.arrays import load_array
from stkit.data.calendar import Times
from stkit.data.clips import Clip, ClipSequences
from stkit.data.readers.config import TaxiBjConfig
from stkit.data.readers.layout import files_of, open_hdf5, root_of
from stkit.data.source import ArraySource, Fields, Part, Variable
from stkit.errors import DataError

_VARIABLES = (
    Variable("inflow", "1", "taxis that enter the cell in half an hour"),
    Variable("outflow", "1", "taxis that leave the cell in half an hour"),
)
_CITATION = "Zhang, Zheng and Qi (2017), arXiv:1610.00081"
_HALF_HOUR = np.timedelta64(30, "m")


class TaxiBj:
    """The data set ``taxibj``: one record in time, whose windows never cross a gap; or windows that were cut before."""

    @classmethod
    def from_config(cls, config: TaxiBjConfig) -> ArraySource | ClipSequences:
        """Read the files, in order of their times; or the archive of windows.

        Raises:
            DataError: if there are none, or one has not this layout.
        """
        path = Path(os.path.expanduser(config.path))
        if path.suffix == ".npz":
            return _windows(root_of(config.path, config))
        parts = [_read(path) for path in files_of(config.path, ("_InOut.h5",), config)]
        parts.sort(key=lambda part: part[1][0])
        fields, times = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
        source = ArraySource(fields, times, _VARIABLES, name="taxibj")
        source.citation = _CITATION
        return source


class _Window(Clip):
    """One window of the archive, from 0 (the least flow) to 1 (the largest)."""

    def __init__(self, path: Path, part: str, number: int, frames: int, shape: tuple[int, int, int]) -> None:
        self.path, self.part, self.number, self.frames, self.shape = path, part, number, frames, shape
        self.name = f"{path.name}[{part}, {number}]"

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.clips.Clip.read`."""
        halves = [load_array(self.path, f"{half}_{self.part}")[self.number] for half in "XY"]
        whole = np.concatenate(halves).astype(np.float32)
        return np.asarray((whole[start:stop] + 1.0) / 2.0, dtype=np.float32)


def _windows(path: Path) -> ClipSequences:
    """The archive has no validation part: the last tenth of the training windows is one, and none before shares a frame
    with it."""
    windows: dict[str, list[_Window]] = {}
    for part in ("train", "test"):
        given, coming = (load_array(path, f"{half}_{part}").shape for half in "XY")
        if len(given) != 5 or given[2] != len(_VARIABLES) or given[:1] + given[2:] != coming[:1] + coming[2:]:
            raise DataError(f"{path}: expected X_{part} and Y_{part} as N T 2 H W, got {given} and {coming}")
        frames, shape = given[1] + coming[1], (given[2], given[3], given[4])
        windows[part] = [_Window(path, part, number, frames, shape) for number in range(given[0])]
    train = windows["train"]
    first, gap = len(train) - max(1, len(train) // 10), train[0].frames - 1 if train else 0
    if first <= gap:
        raise DataError(f"{path}: {len(train)} training windows are too few to keep some for validation")
    parts: dict[Part, list[_Window]] = {
        "train": train[: first - gap],
        "validation": train[first:],
        "test": windows["test"],
    }
    variables = [each._replace(long_name=f"{each.long_name}, as a share of the most") for each in _VARIABLES]
    return ClipSequences("taxibj", variables, parts, citation=_CITATION)


def _read(path: Path) -> tuple[Fields, Times]:
    with open_hdf5(path) as file:
        if not {"data", "date"} <= set(file):
            raise DataError(f"{path}: expected the arrays 'data' and 'date', got {', '.join(file) or 'none'}")
        fields, dates = np.asarray(file["data"], dtype=np.float32), file["date"][:]
    if fields.ndim != 4 or fields.shape[1] != 2 or len(dates) != len(fields):
        raise DataError(f"{path}: expected data N 2 H W and as many dates, got {fields.shape} and {len(dates)}")
    return fields, np.array([_time(text.decode("ascii"), path) for text in dates], dtype="datetime64[ns]")


def _time(text: str, path: Path) -> np.datetime64:
    try:
        day, slot = datetime.strptime(text[:8], "%Y%m%d"), int(text[8:])
        if not 1 <= slot <= 48:
            raise ValueError(text)
    except ValueError:
        raise DataError(f"{path}: the date {text!r} is not a day and a half hour from 01 to 48") from None
    return np.datetime64(day, "ns") + (slot - 1) * _HALF_HOUR
