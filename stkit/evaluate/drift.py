"""How new data differ from those that a run was trained on, and what that does to its errors.

Axes: ``T`` time, ``C`` variables, ``H`` rows, ``W`` columns. Counts and moments are over all cells where a variable
counts in the training; nothing of a record is kept but sums and histograms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stkit.data.calendar import month_index
from stkit.data.record import Record
from stkit.data.source import Variable
from stkit.evaluate.climatology import Climatology, suitable_kind

_BINS = 2000


@dataclass(frozen=True)
class Distribution:
    """The values of one variable in one part."""

    mean: float
    deviation: float
    low: float
    """5th percentile."""
    median: float
    high: float
    """95th percentile."""
    missing: float
    """Share of the cells that count without a value."""


@dataclass(frozen=True)
class VariableDrift:
    """How one variable has changed. Differences are of the new data from the training part."""

    name: str
    units: str
    training: Distribution
    new: Distribution
    shift: float
    """Difference of the means in standard deviations of the training part."""
    spread: float
    """Ratio of the standard deviations."""
    distance: float
    """Largest difference of the two cumulative distributions (Kolmogorov and Smirnov), 0 to 1, from a histogram."""
    transport: float
    """Mean distance that values would have to be moved (Wasserstein), in units of the variable."""
    anomaly: float
    """Mean departure of the new data from the climatology of the training part: a shift that is not the season."""
    anomaly_spread: float | None
    """Ratio of the standard deviations of these departures; None where those of the training part are zero."""
    months: tuple[float | None, ...]
    """Mean departure by calendar month, January first; None where a month has no value. Empty without times."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def find_drift(
    training: Record, new: Record, variables: Sequence[Variable], valid: Tensor
) -> tuple[VariableDrift, ...]:
    """Compare two parts, variable by variable.

    Args:
        training: what the run was trained on.
        new: what came since.
        variables: one for each channel.
        valid: ``C H W``, where each counts.

    Raises:
        DataError: if the training part does not suffice for a climatology.
    """
    normal = Climatology.fit(training, suitable_kind(training.times))
    moments = [_Moments(record, valid) for record in (training, new)]
    departures = [_Moments(record, valid, normal) for record in (training, new)]
    low = torch.minimum(*(part.low for part in moments))
    high = torch.maximum(*(part.high for part in moments))
    counts = [_histogram(record, valid, low, high) for record in (training, new)]
    found = []
    for channel, variable in enumerate(variables):
        edges = np.linspace(float(low[channel]), float(high[channel]), _BINS + 1)
        parts = [
            _distribution(part, channel, count[channel], edges) for part, count in zip(moments, counts, strict=True)
        ]
        first, second = ((np.cumsum(count[channel]) / max(count[channel].sum(), 1)) for count in counts)
        apart = np.abs(first - second)
        before, after = parts
        spread = [part.deviation(channel) for part in departures]
        found.append(
            VariableDrift(
                name=variable.name,
                units=variable.units,
                training=before,
                new=after,
                shift=(after.mean - before.mean) / before.deviation if before.deviation > 0 else 0.0,
                spread=after.deviation / before.deviation if before.deviation > 0 else 1.0,
                distance=float(apart.max()),
                transport=float(apart.sum() * (edges[1] - edges[0])),
                anomaly=departures[1].mean(channel),
                anomaly_spread=spread[1] / spread[0] if spread[0] > 1e-6 * max(before.deviation, 1e-30) else None,
                months=departures[1].months(channel) if new.times is not None else (),
            )
        )
    return tuple(found)


def drift_words(drift: VariableDrift) -> str:
    """What has changed, in a sentence or two."""
    unit = "" if drift.units in ("", "1") else f" {drift.units}"
    way = "higher" if drift.anomaly > 0 else "lower"
    said = (
        f"{drift.name}: mean {drift.new.mean:.4g}{unit} in the new data, {drift.training.mean:.4g}{unit} in the "
        f"training part ({drift.shift:+.2f} of its standard deviation); spread {drift.spread:.2f} times; the "
        f"distributions differ by at most {drift.distance:.2f} (0: the same, 1: apart). Against the climatology of the "
        f"training part the new data are {abs(drift.anomaly):.3g}{unit} {way} on average"
    )
    if drift.anomaly_spread is not None:
        said += f", and depart from it {drift.anomaly_spread:.2f} times as far"
    return f"{said}."


class _Moments:
    """Count, sums and extremes of each variable, or of its departures from a climatology, these also by month."""

    def __init__(self, record: Record, valid: Tensor, normal: Climatology | None = None) -> None:
        channels = len(valid)
        self.cells, self.count, self.total, self.squares = torch.zeros(4, channels, dtype=torch.float64)
        self.low = torch.full((channels,), torch.inf, dtype=torch.float64)
        self.high = -self.low
        self.by_month = torch.zeros(2, 12, channels, dtype=torch.float64)
        self.centre: Tensor | None = None
        for piece in record:
            fields = piece.fields
            if normal is not None:
                fields = fields - normal.at(piece.times, len(fields))
            self._add(*_counted(fields, valid), None if piece.times is None else month_index(piece.times))
            self.cells += len(fields) * valid.sum((1, 2))

    def mean(self, channel: int) -> float:
        """Of the values that are there."""
        assert self.centre is not None, "a record has a piece"
        return float(self.centre[channel] + self.total[channel] / self.count[channel].clamp(min=1))

    def deviation(self, channel: int) -> float:
        """Standard deviation."""
        count = self.count[channel].clamp(min=1)
        return float((self.squares[channel] / count - (self.total[channel] / count) ** 2).clamp(min=0).sqrt())

    def months(self, channel: int) -> tuple[float | None, ...]:
        """Means by calendar month."""
        count, total = self.by_month[:, :, channel]
        return tuple(float(total[month] / count[month]) if count[month] > 0 else None for month in range(12))

    def _add(self, fields: Tensor, there: Tensor, month: NDArray[np.int64] | None) -> None:
        if self.centre is None:  # squares about a value among them lose no digits
            self.centre = fields.sum((0, 2, 3)) / there.sum((0, 2, 3)).clamp(min=1)
        moved = torch.where(there, fields - self.centre[:, None, None], 0.0)
        self.count += there.sum((0, 2, 3))
        self.total += moved.sum((0, 2, 3))
        self.squares += moved.square().sum((0, 2, 3))
        self.low = torch.minimum(self.low, torch.where(there, fields, torch.inf).amin((0, 2, 3)))
        self.high = torch.maximum(self.high, torch.where(there, fields, -torch.inf).amax((0, 2, 3)))
        if month is not None:
            self.by_month[0].index_add_(0, torch.from_numpy(month), there.sum((2, 3)).double())
            self.by_month[1].index_add_(0, torch.from_numpy(month), fields.sum((2, 3)))


def _counted(fields: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Values in double precision, 0 where there is none or it does not count, and where there is one."""
    there = fields.isfinite() & valid
    return torch.where(there, fields.double(), 0.0), there


def _histogram(record: Record, valid: Tensor, low: Tensor, high: Tensor) -> NDArray[np.float64]:
    """``C bins``."""
    counts = np.zeros((len(valid), _BINS))
    for piece in record:
        there = piece.fields.isfinite() & valid
        for channel in range(len(valid)):
            values = piece.fields[:, channel][there[:, channel]].double().numpy()
            counts[channel] += np.histogram(values, _BINS, (float(low[channel]), float(high[channel])))[0]
    return counts


def _distribution(
    moments: _Moments, channel: int, counts: NDArray[np.float64], edges: NDArray[np.float64]
) -> Distribution:
    share = np.cumsum(counts) / max(counts.sum(), 1)
    low, median, high = (float(np.interp(at, share, edges[1:])) for at in (0.05, 0.5, 0.95))
    return Distribution(
        mean=moments.mean(channel),
        deviation=moments.deviation(channel),
        low=low,
        median=median,
        high=high,
        missing=1.0 - float(moments.count[channel] / moments.cells[channel].clamp(min=1)),
    )
