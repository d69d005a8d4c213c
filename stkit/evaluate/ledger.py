"""The running sums of every score of every forecast.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of a score,
``F`` forecasts, ``N`` statistics of all scores that are kept for each window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stkit.evaluate.metric import Array, Comparison, Curve, Metric


class Ledger:
    """Adds up, batch by batch, what the scores are made of, on cells that all forecasts share.

    Nothing of a batch is kept but sums, so a test set of any length fits; the sums of several processes are added as
    one flat vector (:meth:`vector`, :meth:`replace`).
    """

    def __init__(
        self, metrics: Mapping[str, Metric], forecasts: Sequence[str], *, leads: int, variables: int, weights: Array
    ) -> None:
        self.metrics = dict(metrics)
        self.forecasts = tuple(forecasts)
        self.weights = weights
        self._sums = {
            (forecast, name): np.zeros((metric.statistics, leads, variables))
            for forecast in self.forecasts
            for name, metric in self.metrics.items()
        }
        # all cells, cells with a true value, counted cells
        self._cells = np.zeros((3, variables))
        self._windows = np.zeros(1)

    @property
    def kept(self) -> tuple[str, ...]:
        """``N`` names of scores: whose statistic it is, of those that are kept for each window."""
        return tuple(name for name, metric in self.metrics.items() for _ in range(metric.kept))

    @property
    def windows(self) -> int:
        """Windows added so far."""
        return int(self._windows[0])

    @property
    def all_cells(self) -> NDArray[np.int64]:
        """Cells of the grid over all windows and lead times, for each variable."""
        return np.asarray(self._cells[0].astype(np.int64))

    @property
    def true_cells(self) -> NDArray[np.int64]:
        """Those of them with a true value."""
        return np.asarray(self._cells[1].astype(np.int64))

    @property
    def counted_cells(self) -> NDArray[np.int64]:
        """Those of them where every forecast has a value, too: the cells that are scored."""
        return np.asarray(self._cells[2].astype(np.int64))

    def add(
        self,
        truth: NDArray[np.floating],
        forecasts: Mapping[str, NDArray[np.floating]],
        climatology: Array | None = None,
        members: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> Array:
        """Add a batch.

        Args:
            truth: ``B L C H W`` in physical units, NaN where missing.
            forecasts: the same for each forecast that is compared.
            climatology: the same for the climatology of the training part, for the scores that need it.
            members: ``M B L C H W`` of each forecast that is an ensemble, finite where its mean is.

        Returns:
            ``F B N L C``: of each forecast and window the statistics that :attr:`kept` names.
        """
        members = members or {}
        windows: list[Array] = []
        true_cells = np.isfinite(truth).sum(axis=(0, 1, 3, 4))
        counted = shared_cells(truth, [forecasts[forecast] for forecast in self.forecasts])
        exact = truth.astype(np.float64)
        for forecast in self.forecasts:
            said = forecasts[forecast].astype(np.float64)
            several = members[forecast].astype(np.float64) if forecast in members else None
            comparison = Comparison(said, exact, counted, self.weights, climatology, several)
            found = {name: metric.sums(comparison) for name, metric in self.metrics.items()}
            for name, sums in found.items():
                self._sums[forecast, name] += sums.sum(axis=0)
            windows.append(np.concatenate([sums[:, : self.metrics[name].kept] for name, sums in found.items()], axis=1))
        self._cells[0] += truth.size / truth.shape[2]
        self._cells[1] += true_cells
        self._cells[2] += counted.sum(axis=(0, 1, 3, 4))
        self._windows[0] += len(truth)
        return np.stack(windows)

    def score(self, forecast: str, metric: str) -> Array:
        """The score ``L C`` of a forecast; NaN where it is not defined."""
        return self.metrics[metric].score(self._sums[forecast, metric])

    def beside(self, metric: str) -> Mapping[str, Array]:
        """Numbers of the truth that belong beside a score: ``L C``, by name."""
        return self.metrics[metric].beside(self._sums[self.forecasts[0], metric])

    def curve(self, forecast: str, metric: str) -> Curve | None:
        """What a score knows of a forecast besides its number."""
        return self.metrics[metric].curve(self._sums[forecast, metric])

    def vector(self) -> Array:
        """All sums in one vector, for adding those of several processes."""
        return np.concatenate([array.ravel() for array in self._arrays()])

    def replace(self, vector: Array) -> None:
        """Put back a vector of sums, as :meth:`vector` lays them out."""
        start = 0
        for array in self._arrays():
            array[...] = vector[start : start + array.size].reshape(array.shape)
            start += array.size

    def _arrays(self) -> list[Array]:
        return [*self._sums.values(), self._cells, self._windows]


def shared_cells(truth: NDArray[np.floating], forecasts: Iterable[NDArray[np.floating]]) -> NDArray[np.bool_]:
    """The cells ``B L C H W`` that are finite in the truth and in every forecast: only they are scored."""
    counted: NDArray[np.bool_] = np.isfinite(truth)
    for forecast in forecasts:
        counted = counted & np.isfinite(forecast)
    return counted
