"""The error of each cell by itself, at a few lead times: what maps of skill are made from.

Axes: ``F`` forecasts, ``B`` windows, ``L`` lead times, ``K`` those that are kept, ``C`` variables, ``H`` height, ``W``
width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stkit.evaluate.ledger import shared_cells
from stkit.evaluate.metric import Array, ratio
from stkit.evaluate.scores import REFERENCES

MOST_LEADS = 3
"""Each lead time that is kept costs one field for each forecast and variable."""


class CellErrors:
    """Adds up the squared errors of each cell over the windows, on cells that all forecasts share.

    It holds ``F K C H W`` sums and nothing of a batch, whatever the length of the test part; those of several processes
    are added as one flat vector (:meth:`vector`, :meth:`replace`).
    """

    def __init__(self, forecasts: Sequence[str], *, leads: int, variables: int, height: int, width: int) -> None:
        self.forecasts = tuple(forecasts)
        self.leads = tuple(int(i) for i in np.unique(np.linspace(0, leads - 1, min(leads, MOST_LEADS)).round()))
        """Numbers of the lead times that are kept, from 0: the first, the middle and the last."""
        shape = (len(self.leads), variables, height, width)
        self._squared = np.zeros((len(self.forecasts), *shape))
        self._count = np.zeros(shape)

    @property
    def count(self) -> Array:
        """``K C H W``: windows in which a cell was scored."""
        return self._count

    def add(self, truth: NDArray[np.floating], forecasts: Mapping[str, NDArray[np.floating]]) -> None:
        """Add a batch.

        Args:
            truth: ``B L C H W`` in physical units, NaN where missing.
            forecasts: the same for each forecast that is compared.
        """
        kept = list(self.leads)
        exact = truth[:, kept].astype(np.float64)
        chosen = [forecasts[name][:, kept] for name in self.forecasts]
        counted = shared_cells(exact, chosen)
        self._count += counted.sum(axis=0)
        for number, forecast in enumerate(chosen):
            self._squared[number] += np.where(counted, np.square(forecast - exact), 0.0).sum(axis=0)

    def squared_error(self, forecast: str) -> Array:
        """``K C H W``: mean squared error of each cell; NaN where it was never scored."""
        return ratio(self._squared[self.forecasts.index(forecast)], self._count)

    def skill(self, baseline: str) -> Array:
        """``K C H W``: ``1 - MSE / MSE of the baseline``; NaN where it is not defined."""
        return 1.0 - ratio(self.squared_error("model"), np.nan_to_num(self.squared_error(baseline)))

    def hardest(self, variable: int) -> str | None:
        """The baseline with the smallest error of a variable over the kept lead times; None where there is none."""
        names = [name for name in self.forecasts if name != "model" and name not in REFERENCES]
        errors = {name: float(self._squared[self.forecasts.index(name), :, variable].sum()) for name in names}
        return min(names, key=errors.__getitem__) if names and self._count[:, variable].any() else None

    def vector(self) -> Array:
        """All sums in one vector, for adding those of several processes."""
        return np.concatenate([self._squared.ravel(), self._count.ravel()])

    def replace(self, vector: Array) -> None:
        """Put back a vector of sums, as :meth:`vector` lays them out."""
        self._squared[...] = vector[: self._squared.size].reshape(self._squared.shape)
        self._count[...] = vector[self._squared.size :].reshape(self._count.shape)
