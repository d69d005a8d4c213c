"""The normal state of a field: what is subtracted to get anomalies, and the simplest honest forecast.

Axes: ``N`` times, ``C`` variables, ``H`` rows, ``W`` columns, ``K`` months or harmonic terms. A cell without a value in
training (land, or a month in which it never had one) is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stkit.data.box import Box, crop
from stkit.data.calendar import Times, month_index, year_phase
from stkit.data.record import Record
from stkit.errors import DataError

ClimatologyKind = Literal["month", "day_of_year", "mean"]
KINDS: tuple[ClimatologyKind, ...] = get_args(ClimatologyKind)

HARMONICS = 3
"""Annual, semi-annual and four-monthly waves."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHORTEST_STEP_FOR_MONTHS = np.timedelta64(20, "D")
_ALMOST_A_YEAR = np.timedelta64(330, "D")
_RIDGE = 1e-9


def suitable_kind(times: Times | None) -> ClimatologyKind:
    """The finest climatology that the training times allow.

    Calendar months for a record in steps of about a month, harmonics of the day of the year for a finer one that spans
    most of a year, and the mean frame otherwise (radar, or sequences without a calendar).
    """
    if times is None or times.size < 2:
        return "mean"
    if np.unique(month_index(times)).size == 12 and np.median(np.diff(times)) >= _SHORTEST_STEP_FOR_MONTHS:
        return "month"
    return "day_of_year" if times[-1] - times[0] >= _ALMOST_A_YEAR else "mean"


class Climatology:
    """Mean for each calendar month, harmonics of the day of the year, or the mean frame, for each cell.

    Args:
        kind: ``month``, ``day_of_year`` or ``mean``.
        table: ``12 C H W`` means, ``K C H W`` coefficients, or ``1 C H W``.
    """

    def __init__(self, kind: ClimatologyKind, table: Float[Tensor, "K C H W"]) -> None:
        self.kind = kind
        self.table = table

    @classmethod
    def fit(cls, record: Record, kind: ClimatologyKind) -> Climatology:
        """Fit to the training record.

        Raises:
            DataError: if the record has no times, lacks a calendar month, or spans less than a year, where ``kind``
                needs it.
        """
        _check(record.times, kind)
        if kind == "day_of_year":
            return cls(kind, _regression(record))
        total = torch.zeros(12 if kind == "month" else 1, *record.shape, dtype=torch.float64)
        count = torch.zeros_like(total)
        frames = 0
        for piece in record:
            frames += len(piece.fields)
            finite = piece.fields.isfinite()
            kinds = torch.zeros(len(finite), dtype=torch.long)
            if kind == "month":
                assert piece.times is not None, "checked above"
                kinds = torch.from_numpy(month_index(piece.times))
            total.index_add_(0, kinds, torch.where(finite, piece.fields, 0.0).double())
            count.index_add_(0, kinds, finite.double())
        if not frames:
            raise DataError("a climatology needs at least one training frame, got none")
        return cls(kind, torch.where(count > 0, total / count.clamp(min=1), torch.nan).float())

    def at(self, times: Times | None, count: int, box: Box | None = None) -> Float[Tensor, "*B N C H W"]:
        """The climatology at given times.

        Args:
            times: ``*B N``; None for sequences without a calendar (``mean`` only).
            count: ``N``.
            box: the part of the grid, None for all of it.

        Raises:
            DataError: if the climatology goes by the calendar and there are no times.
        """
        table = crop(self.table, box)
        if self.kind == "mean":
            lead = () if times is None else times.shape[:-1]
            return table.expand(*lead, count, *table.shape[1:])
        if times is None:
            raise DataError(f"the climatology goes by {self.kind.replace('_', ' ')}, but the fields have no times")
        if self.kind == "month":
            return table[torch.from_numpy(month_index(times)).to(table.device)]
        flat = _harmonics(times.reshape(-1), times.size).to(table)
        return torch.einsum("tk,kchw->tchw", flat, table).reshape(*times.shape, *table.shape[1:])

    def to(self, device: torch.device) -> Climatology:
        """The same on another device."""
        return Climatology(self.kind, self.table.to(device))

    def state(self) -> dict[str, Tensor]:
        """The tensors that make it up."""
        return {"table": self.table}

    @classmethod
    def from_state(cls, kind: ClimatologyKind, tensors: Mapping[str, Tensor]) -> Climatology:
        """Back from :meth:`state`."""
        return cls(kind, tensors["table"])


def _check(times: Times | None, kind: ClimatologyKind) -> None:
    if kind not in KINDS:
        raise DataError(f"unknown climatology {kind!r}; known: {', '.join(KINDS)}")
    if kind == "mean":
        return
    if times is None:
        raise DataError(
            f"a climatology by {kind.replace('_', ' ')} needs times, but the fields have none; "
            "use 'anomaly: none', or give the file a time coordinate with units like 'days since 2000-01-01'"
        )
    if kind == "month":
        lacking = sorted(set(range(12)) - set(month_index(times).tolist()))
        if lacking:
            raise DataError(
                "a climatology by month needs every calendar month in the training part; it lacks "
                f"{', '.join(_MONTHS[i] for i in lacking)} (training has {times.size} steps)"
            )
    elif times.size < 2 or times[-1] - times[0] < _ALMOST_A_YEAR:
        days = 0 if times.size < 2 else (times[-1] - times[0]) / np.timedelta64(1, "D")
        raise DataError(
            f"a climatology by day of year needs about a year or more in the training part, got {days:.0f} days"
        )


def _harmonics(times: Times | None, count: int) -> Tensor:
    """``T K`` with K = 1 + 2 HARMONICS: the mean, then cosine and sine of each wave."""
    assert times is not None, "checked before"
    phase = torch.from_numpy(2 * np.pi * year_phase(times))
    waves = [torch.ones_like(phase)]
    for number in range(1, HARMONICS + 1):
        waves += [torch.cos(number * phase), torch.sin(number * phase)]
    return torch.stack(waves, dim=-1)


def _regression(record: Record) -> Tensor:
    """Least squares of each cell on the harmonics, over the times at which it has a value.

    Where a cell has a value at only part of the year (sea ice) the waves are not determined; a very small ridge then
    gives the smallest ones that fit. Cells with fewer values than terms are NaN.
    """
    terms = 1 + 2 * HARMONICS
    shape = record.shape
    cells = int(np.prod(shape))
    gram = torch.zeros(cells, terms, terms, dtype=torch.float64)
    right = torch.zeros(cells, terms, dtype=torch.float64)
    for piece in record:
        weights = _harmonics(piece.times, len(piece.fields))
        fields = piece.fields.reshape(-1, cells)
        finite = fields.isfinite()
        right += torch.where(finite, fields, 0.0).double().T @ weights
        products = (weights[:, :, None] * weights[:, None, :]).flatten(1)
        gram += (finite.double().T @ products).view(cells, terms, terms)
    count = gram[:, 0, 0]
    ridge = torch.diag(torch.tensor([0.0] + [1.0] * (terms - 1), dtype=torch.float64)) * _RIDGE
    enough = count >= terms
    gram = torch.where(
        enough[:, None, None], gram + count[:, None, None] * ridge, torch.eye(terms, dtype=torch.float64)
    )
    solution: Tensor = torch.linalg.solve(gram, right)
    solution[~enough] = torch.nan
    return solution.T.reshape(terms, *shape).float()
