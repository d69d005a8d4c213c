"""Sharpness: how much of the truth's variance a forecast has, in all and at each scale.

A forecast that minimises squared error is smooth where it is unsure. Its error does not say so; its spectrum does.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of the score, ``K``
wave numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stkit.data.source import Grid
from stkit.evaluate.metric import Array, Comparison, Curve, Metric, Training, ratio
from stkit.evaluate.rectangle import largest_rectangle

_RESOLVED = 0.5
"""Share of the truth's power from which on a scale counts as resolved."""
_FEWEST_CELLS = 8
"""Cells along either side that a spectrum needs."""
_UNEVEN = 0.01
"""Sides of cells that differ by less are the same."""
_SPACE = (3, 4)
_CONVENTION = (
    "smallest wavelength, in grid cells, down to which the radially averaged power of the forecast, summed over all "
    "frames, is at least half that of the truth; only frames without a missing cell"
)


class VarianceRatio(Metric):
    """Variance over the cells of a frame: that of the forecasts over that of the truth."""

    label = "variance ratio"
    convention = (
        "variance over the counted cells of a frame, weighted by the cosine of latitude where there is one, mean over "
        "the frames: that of the forecast over that of the truth; below one where the forecast is too smooth"
    )
    better = "one"
    unit = "1"
    statistics = 2
    bounds = (0.0, math.inf)

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        return np.stack([_variance(fields, comparison) for fields in (comparison.forecast, comparison.truth)], axis=1)

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        return ratio(sums[0], sums[1])


class EffectiveResolution(Metric):
    """The scale down to which the forecast has at least half of the truth's power.

    Radially averaged power, without a window, as in pysteps. To fill land would make structure up, so the spectrum
    is that of the largest rectangle without land; a frame with a missing cell there is left out.
    """

    label = "effective resolution"
    better = "lower"
    unit = "cells"
    statistics = 0

    def __init__(self) -> None:
        self.convention = _CONVENTION
        self._rows, self._columns = slice(None), slice(None)
        self._cell: tuple[float, str] | None = None

    def fit(self, training: Training) -> None:
        """See :meth:`Metric.fit`."""
        height, width = training.grid.shape
        self._cell = spacing(training.grid)
        if training.valid is not None and not training.valid.all():
            self._rows, self._columns = largest_rectangle(np.asarray(training.valid.all(axis=0))) or (
                slice(0),
                slice(0),
            )
            height, width = (len(range(size)[part]) for size, part in zip(training.grid.shape, self._box, strict=True))
            self.convention = f"{_CONVENTION}; {self._where(height, width)}"
        if min(height, width) < _FEWEST_CELLS:
            self._waves = 0
            self.statistics = 0
            return
        self._side = max(height, width)
        number = rings(height, width).ravel()
        self._order = np.argsort(number, kind="stable")
        self._first, self._sizes = np.unique(number[self._order], return_index=True, return_counts=True)[1:]
        self._waves = self._side // 2
        self.statistics = 2 * self._waves

    @property
    def kept(self) -> int:
        """None: a spectrum is too much to keep of each window."""
        return 0

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        if not self._waves:
            return np.zeros((len(comparison.truth), 0, *comparison.truth.shape[1:3]))
        complete = np.asarray(comparison.counted[..., self._rows, self._columns].all(axis=_SPACE))
        powers = [self._power(fields, complete) for fields in (comparison.forecast, comparison.truth)]
        return np.concatenate(powers, axis=1)

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        share = ratio(sums[: self._waves], sums[self._waves :])
        if not self._waves:
            return np.full(sums.shape[1:], np.nan)
        # From the largest scale down to the first that is not resolved.
        finest = np.cumprod(share >= _RESOLVED, axis=0).sum(axis=0)
        return np.where(finest > 0, self._side / np.maximum(finest, 1), np.nan)

    def beside(self, sums: Array) -> Mapping[str, Array]:
        """See :meth:`Metric.beside`: that of the model in the unit of the grid, where cells are squares."""
        if self._cell is None:
            return {}
        size, unit = self._cell
        return {f"model [{unit}]": self.score(sums) * size}

    def curve(self, sums: Array) -> Curve | None:
        """See :meth:`Metric.curve`: the power of forecast and truth, and their ratio, by wavelength."""
        forecast, truth = sums[: self._waves], sums[self._waves :]
        if not truth.any():
            return None
        size, unit = self._cell or (1.0, "cells")
        wavelengths = tuple(float(size * self._side / wave) for wave in range(1, self._waves + 1))
        lines = {"power ratio": ratio(forecast, truth), "power": forecast, "power of the truth": truth}
        return Curve(f"wavelength [{unit}]", wavelengths, lines)

    @property
    def _box(self) -> tuple[slice, slice]:
        return self._rows, self._columns

    def _where(self, height: int, width: int) -> str:
        if min(height, width) < _FEWEST_CELLS:
            return f"not defined here: no rectangle of {_FEWEST_CELLS} x {_FEWEST_CELLS} cells is without land"
        rows, columns = (f"{part.start + 1}–{part.stop}" for part in self._box)
        return f"over the largest rectangle without land, {height} x {width} cells (rows {rows}, columns {columns})"

    def _power(self, fields: Array, complete: NDArray[np.bool_]) -> Array:
        """Mean power in each ring of wave numbers, ``B K L C``; 0 for a frame that is not complete."""
        whole = np.where(complete[..., None, None], fields[..., self._rows, self._columns], 0.0)
        transformed = np.fft.fft2(whole, axes=_SPACE)
        power = np.square(np.abs(transformed)) / (whole.shape[3] * whole.shape[4])
        flat = power.reshape(*power.shape[:3], -1)[..., self._order]
        means = np.add.reduceat(flat, self._first, axis=-1) / self._sizes
        return np.asarray(np.moveaxis(means[..., 1 : self._waves + 1], -1, 1))


def spacing(grid: Grid) -> tuple[float, str] | None:
    """Side of a cell and its unit, ``(1.0, "km")``; None where cells are not squares of one size, or have no unit."""
    sides = []
    for axis in (grid.y, grid.x):
        unit = "degrees" if axis.units.startswith("degree") else axis.units.strip()
        if axis.values is None or len(axis.values) < 2 or unit in ("", "1"):
            return None
        steps = np.abs(np.diff(axis.values))
        if steps.max() > (1 + _UNEVEN) * steps.min():
            return None
        sides.append((float(steps.mean()), unit))
    (tall, unit), (wide, other) = sides
    if unit != other or not math.isclose(tall, wide, rel_tol=_UNEVEN):
        return None
    return (tall / 1000, "km") if unit in ("m", "metre", "meter") and tall >= 1000 else (tall, unit)


def rings(height: int, width: int) -> NDArray[np.int64]:
    """Number of the wave that each place of a transformed frame belongs to, ``H W``: waves on the longer side."""
    side = max(height, width)
    down, right = np.fft.fftfreq(height) * side, np.fft.fftfreq(width) * side
    return np.asarray(np.hypot(down[:, None], right[None, :]).round().astype(np.int64))


def _variance(fields: Array, comparison: Comparison) -> Array:
    """Of each frame, ``B L C``."""
    weights = comparison.counted * comparison.weights
    total = weights.sum(axis=_SPACE)
    values = np.where(comparison.counted, fields, 0.0)
    mean = np.divide((weights * values).sum(axis=_SPACE), total, out=np.zeros_like(total), where=total > 0)
    square = (weights * np.square(values - mean[..., None, None])).sum(axis=_SPACE)
    return np.asarray(np.divide(square, total, out=np.zeros_like(total), where=total > 0))
