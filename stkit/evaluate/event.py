"""What an event is: a value at or above a threshold, in the field's unit or a cell's own percentile in training.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stkit.data.record import Record
from stkit.evaluate.climatology import Climatology
from stkit.evaluate.metric import Array, Comparison, Training
from stkit.evaluate.metric_config import ThresholdConfig, percentile, value_text

_BYTES_AT_A_TIME = 256 * 2**20
_ORDINALS = {1: "st", 2: "nd", 3: "rd"}


class Event:
    """A value at or above a threshold.

    Args:
        config: with one threshold.
    """

    def __init__(self, config: ThresholdConfig) -> None:
        assert not isinstance(config.threshold, tuple), "an entry's scores have one threshold each"
        self.threshold = config.threshold
        self.variable = config.variable
        self.percent = percentile(config.threshold)
        self._departure: Array | None = None
        self._channels: NDArray[np.bool_] | None = None

    @property
    def label(self) -> str:
        """For the label of a score; ``{u}`` stands for the field's unit."""
        if self.percent is None:
            return f"at {value_text(self.threshold)} {{u}}"
        return f"at the local {_ordinal(self.percent)} percentile"

    @property
    def convention(self) -> str:
        """What an event is, for the convention of a score."""
        if self.percent is None:
            return f"an event is a value of at least {value_text(self.threshold)} in the field's unit"
        return (
            "an event is a departure from the training climatology of at least the cell's own "
            f"{_ordinal(self.percent)} percentile in the training part"
        )

    def fit(self, training: Training) -> None:
        """Find the percentiles, and which variable is meant."""
        self._channels = np.array([self.variable in (None, variable.name) for variable in training.variables])
        if self.percent is not None:
            assert training.climatology is not None, "a percentile is of departures from the climatology"
            self._departure = local_percentile(training.record, training.climatology, self.percent)

    def of(self, fields: Array, comparison: Comparison) -> NDArray[np.bool_]:
        """Where there is an event: ``B L C H W``, never where a cell does not count."""
        if self.percent is None:
            # In the precision of the data: what a file gives as 0.7 reaches a threshold of 0.7.
            return np.asarray(comparison.counted & (fields >= np.float32(self.threshold)))
        assert comparison.climatology is not None, "asked for by needs_climatology"
        assert self._departure is not None, "fitted before"
        with np.errstate(invalid="ignore"):
            return np.asarray(comparison.counted & (fields >= comparison.climatology + self._departure))

    def counted(self, comparison: Comparison) -> NDArray[np.bool_]:
        """Where it can be said whether there is one: ``B L C H W``."""
        if self.percent is None:
            return comparison.counted
        assert comparison.climatology is not None, "asked for by needs_climatology"
        assert self._departure is not None, "fitted before"
        return np.asarray(comparison.counted & np.isfinite(comparison.climatology + self._departure))

    def only_meant(self, score: Array) -> Array:
        """NaN for the variables that the score is not for: ``L C``."""
        return score if self._channels is None else np.where(self._channels, score, np.nan)


def local_percentile(record: Record, climatology: Climatology, percent: float) -> Array:
    """Each cell's percentile of its departures from climatology, ``C H W``; NaN where it never has a value.

    Exact, and with bounded memory: the record is gone through once for each band of rows that fits.
    """
    variables, height, width = record.shape
    frames = sum(len(piece.fields) for piece in record)
    rows = max(1, _BYTES_AT_A_TIME // max(1, 4 * frames * variables * width))
    found = np.full((variables, height, width), np.nan)
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        departures = np.concatenate(
            [(piece.fields - climatology.at(piece.times, len(piece.fields))).numpy()[..., band, :] for piece in record]
        )
        known = np.isfinite(departures).any(axis=0)
        found[:, band][known] = np.nanpercentile(departures[:, known].astype(np.float64), percent, axis=0)
    return found


def _ordinal(value: float) -> str:
    if not value.is_integer():
        return f"{value:g}th"
    number = int(value)
    return f"{number}{'th' if 10 < number % 100 < 20 else _ORDINALS.get(number % 10, 'th')}"
