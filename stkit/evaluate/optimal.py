"""The best possible forecast as a line beside the baselines, for data whose law is known.

Axes: ``B`` any leading axes, ``T`` context, ``N`` lead times, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from stkit.data.box import Box
from stkit.data.calendar import Times
from stkit.data.optimum import Optimum
from stkit.data.record import Record, SpanRecord
from stkit.data.source import FieldSource
from stkit.errors import DataError
from stkit.evaluate.baselines import Baseline, Context, Forecast
from stkit.evaluate.words import unit_text

NAME = "optimal"

_MOST_STARTS = 20
"""Contexts over which an expected error that changes with time is averaged."""
_T = TypeVar("_T")


class Optimal(Baseline):
    """The conditional mean of the future given the context: no model does better in the mean.

    It takes no part in any contest: a model is measured by how far above it it stays.
    """

    name = NAME

    def __init__(self) -> None:
        self._source: FieldSource | None = None
        self._made: dict[int, Optimum] = {}

    @property
    def about(self) -> str:
        """See :attr:`Baseline.about`; :meth:`words` says more."""
        return "the mean of all futures that fit the context, by the law of the field"

    def optimum(self, input_steps: int) -> Optimum:
        """The best possible forecast from so many steps.

        Raises:
            DataError: if the law of the data is not known, or the baseline has not been fitted.
        """
        if self._source is None:
            raise DataError(f"{self.name} has not been fitted: call fit() first")
        if input_steps not in self._made:
            made = self._source.optimum(input_steps)
            if made is None:
                raise DataError(unknown_law(self._source.name))
            self._made[input_steps] = made
        return self._made[input_steps]

    def forecast(
        self, context: Context, context_times: Times | None, target_times: Times | int, box: Box | None = None
    ) -> Forecast:
        """See :meth:`Baseline.forecast`.

        Raises:
            DataError: if the law of the data is not known, or the context is no stretch of the record on all the grid.
        """
        optimum = self.optimum(context.shape[-4])
        assert self._source is not None, "checked by optimum()"
        if box is not None or context.shape[-2:] != self._source.grid.shape:
            raise DataError(f"{self.name}: the best possible forecast is of the whole grid, not of a part of it")
        horizon = target_times if isinstance(target_times, int) else int(target_times.shape[-1])
        lead = context.shape[:-4]
        flat = context.reshape(-1, *context.shape[-4:]).cpu().numpy()
        starts = self._numbers(context_times)
        said = [optimum.forecast(one, start, horizon) for one, start in zip(flat, starts, strict=True)]
        return torch.from_numpy(np.stack(said)).to(context).reshape(*lead, *said[0].shape)

    def expected_error(self, starts: Sequence[int], input_steps: int, horizon: int) -> NDArray[np.float64]:
        """Root of its expected squared error, mean over some contexts: ``N C``, in the field's units.

        Args:
            starts: number of each context's first step in the record.
            input_steps: ``T``.
            horizon: ``N``.
        """
        optimum = self.optimum(input_steps)
        return np.asarray(np.sqrt(np.mean([optimum.squared_error(start, horizon) for start in _few(starts)], axis=0)))

    def words(self, starts: Sequence[int], input_steps: int, horizon: int) -> str:
        """What it is and what error it is expected to have, for the list of what is compared."""
        optimum = self.optimum(input_steps)
        errors = self.expected_error(starts, input_steps, horizon)
        assert self._source is not None, "checked by optimum()"
        told = [
            f"{', '.join(f'{error:.3g}' for error in errors[:, channel])} {unit_text(variable.units)}".rstrip()
            for channel, variable in enumerate(self._source.variables)
        ]
        return f"{self.about} ({optimum.about}); its expected RMSE by lead time: {'; '.join(told)}"

    def _fit(self, record: Record) -> None:
        if not isinstance(record, SpanRecord):
            raise DataError(unknown_law("the data"))
        self._source = record.source

    def _numbers(self, context_times: Times | None) -> list[int]:
        assert self._source is not None, "checked by optimum()"
        times = self._source.times
        if times is None or context_times is None:
            raise DataError(f"{self.name}: the context has no times, which say where in the record it lies")
        first = context_times[..., 0].reshape(-1).astype("datetime64[ns]")
        numbers = np.searchsorted(times, first)
        outside = (numbers >= times.size) | (times[np.minimum(numbers, times.size - 1)] != first)
        if outside.any():
            raise DataError(f"{self.name}: the record of {self._source.name} has no step at {first[outside][0]}")
        return [int(number) for number in numbers]


def unknown_law(data: str) -> str:
    """Why there is no best possible forecast of some data."""
    return (
        f"the baseline {NAME!r} is the best possible forecast by the law of the field, and nobody knows that of "
        f"{data!r}: leave it out, or take a field that is made by a law, such as synthetic_field"
    )


def _few(values: Sequence[_T]) -> list[_T]:
    """All of them, or as many spread evenly."""
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_STARTS)).round().astype(int))
    return [values[place] for place in places]
