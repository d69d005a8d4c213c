"""TaxiBJ: Zhang, Zheng and Qi (2017), Deep Spatio-Temporal Residual Networks for Citywide Crowd Flows Prediction,
arXiv:1610.00081.

``data`` N 2 32 32 (inflow, outflow) and ``date`` N, such as ``2013070101``: the day, and the half hour from 1 to 48.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from stkit.data.calendar import Times
from stkit.data.readers.config import TaxiBjConfig
from stkit.data.readers.layout import files_of, open_hdf5
from stkit.data.source import ArraySource, Fields, Variable
from stkit.errors import DataError

_VARIABLES = (
    Variable("inflow", "1", "taxis that enter the cell in half an hour"),
    Variable("outflow", "1", "taxis that leave the cell in half an hour"),
)
_HALF_HOUR = np.timedelta64(30, "m")


class TaxiBj:
    """The data set ``taxibj``, one record in time; windows that would cross one of its gaps are left out."""

    @classmethod
    def from_config(cls, config: TaxiBjConfig) -> ArraySource:
        """Read the files, in order of their times.

        Raises:
            DataError: if there are none, or one has not this layout.
        """
        parts = [_read(path) for path in files_of(config.path, ("_InOut.h5",), config)]
        parts.sort(key=lambda part: part[1][0])
        fields, times = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
        source = ArraySource(fields, times, _VARIABLES, name="taxibj")
        source.citation = "Zhang, Zheng and Qi (2017), arXiv:1610.00081"
        return source


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
