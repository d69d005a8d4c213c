"""Fill values that no file declares: numbers such as -999 that stand for nothing, far from everything that is measured.

Axes: ``T`` time, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stkit.data.source import Variable
from stkit.errors import DataError

_SIZES = (99.0, 999.0, 9999.0, 99999.0, 999.9, 9999.9, 32767.0, 32768.0, 65535.0)
USUAL = np.array([sign * size for size in _SIZES for sign in (-1, 1)], dtype=np.float32)
"""Numbers that programs write where there is no value. Larger ones (1e20, 9.97e36) no reader lets through."""


class FillValues:
    """Looks for undeclared fill values while a record is gone through.

    One of the usual numbers is called a fill value where it lies further from all other values of the variable than
    these lie apart: a temperature may be -99, but not where all others are between 3 and 31.
    """

    def __init__(self, variables: Sequence[Variable]) -> None:
        self.variables = tuple(variables)
        count = len(self.variables)
        self._low, self._high = np.full(count, np.inf), np.full(count, -np.inf)
        self._found: list[dict[float, int]] = [{} for _ in range(count)]

    def add(self, fields: NDArray[np.float32]) -> None:
        """Look at some frames, ``T C H W``, NaN where there is no value."""
        for channel in range(len(self.variables)):
            values = fields[:, channel]
            known = values[np.isfinite(values)]
            if known.size == 0:
                continue
            if np.isin([known.min(), known.max()], USUAL).any():
                usual = np.isin(known, USUAL)
                for value, times in zip(*np.unique(known[usual], return_counts=True), strict=True):
                    told = self._found[channel]
                    told[float(value)] = told.get(float(value), 0) + int(times)
                known = known[~usual]
            if known.size:
                self._low[channel] = min(self._low[channel], known.min())
                self._high[channel] = max(self._high[channel], known.max())

    def check(self) -> None:
        """Refuse a variable that has one.

        Raises:
            DataError: says which value, how often, and between what all others lie.
        """
        for variable, low, high, found in zip(self.variables, self._low, self._high, self._found, strict=True):
            for value, times in sorted(found.items()):
                if max(low - value, value - high) <= high - low or not np.isfinite(high - low):
                    continue
                others = f"all others lie between {low:g} and {high:g}" if low < high else f"all others are {low:g}"
                raise DataError(
                    f"{variable.name}: {times} value{'s' if times > 1 else ''} of the training part "
                    f"{'are' if times > 1 else 'is'} {value:g}, while {others}; it looks like a fill value that the "
                    f"file does not declare: say data.dataset.missing_values=[{value:g}], or write NaN in its place"
                )
