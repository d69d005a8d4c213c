"""The best possible forecast, for fields whose law is known.

Axes: ``T`` context, ``N`` lead times, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    Context = NDArray[np.floating]
    Errors = NDArray[np.float64]
else:  # a checker at run time would refuse the abstract type of numbers
    Context = np.ndarray
    Errors = np.ndarray


class Optimum(ABC):
    """The forecast that no other beats in the mean: the conditional mean of the future given the context.

    It knows the law of the field with all its numbers, and of the field itself no more than a model is given.

    Attributes:
        input_steps: ``T``, length of the context.
        exact: whether it is that forecast. False: it is given more than a model is: its error is a bound from below.
        about: how it is made, as a clause.
    """

    input_steps: int
    exact: bool
    about: str

    @abstractmethod
    def forecast(self, context: Context, start: int, horizon: int) -> NDArray[np.float32]:
        """Forecast the observed field of the steps after a context: ``N C H W``, NaN on land.

        Args:
            context: ``T C H W`` in physical units, NaN on land.
            start: number of its first step in the record.
            horizon: ``N``.
        """

    @abstractmethod
    def squared_error(self, start: int, horizon: int) -> Errors:
        """Its expected squared error against the observed field, mean over the cells that are scored: ``N C``.

        Args:
            start: number of the context's first step in the record.
            horizon: ``N``.
        """
