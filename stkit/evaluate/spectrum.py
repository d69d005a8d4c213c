"""Sharpness: how much of the truth's variance a forecast has, in all and at each scale.

A forecast that minimises squared error is smooth where it is unsure. Its error does not say so; its spectrum does.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of the score, ``K``
wave numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stkit.evaluate.metric import Array, Comparison, Curve, Metric, Training, ratio

_RESOLVED = 0.5
"""Share of the truth's power from which on a scale counts as resolved."""
_SPACE = (3, 4)


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

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        return np.stack([_variance(fields, comparison) for fields in (comparison.forecast, comparison.truth)], axis=1)

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        return ratio(sums[0], sums[1])


class EffectiveResolution(Metric):
    """The scale down to which the forecast has at least half of the truth's power.

    Radially averaged power, without a window, as in pysteps. A frame with a missing cell has no spectrum: filling the
    cell would make one up, so that a field with land has none.
    """

    label = "effective resolution"
    convention = (
        "smallest wavelength, in grid cells, down to which the radially averaged power of the forecast, summed over "
        "all frames, is at least half that of the truth; only frames without a missing cell, none where there is land"
    )
    better = "lower"
    unit = "cells"
    statistics = 0

    def fit(self, training: Training) -> None:
        """See :meth:`Metric.fit`."""
        height, width = training.grid.shape
        self._side = max(height, width)
        number = rings(height, width).ravel()
        self._order = np.argsort(number, kind="stable")
        self._first, self._sizes = np.unique(number[self._order], return_index=True, return_counts=True)[1:]
        self._waves = self._side // 2
        self.statistics = 2 * self._waves

    def sums(self, comparison: Comparison) -> Array:
        """See :meth:`Metric.sums`."""
        complete = np.asarray(comparison.counted.all(axis=_SPACE))
        powers = [self._power(fields, complete) for fields in (comparison.forecast, comparison.truth)]
        return np.concatenate(powers, axis=1)

    def score(self, sums: Array) -> Array:
        """See :meth:`Metric.score`."""
        share = ratio(sums[: self._waves], sums[self._waves :])
        # From the largest scale down to the first that is not resolved.
        finest = np.cumprod(share >= _RESOLVED, axis=0).sum(axis=0)
        return np.where(finest > 0, self._side / np.maximum(finest, 1), np.nan)

    def curve(self, sums: Array) -> Curve | None:
        """See :meth:`Metric.curve`: the power of forecast and truth, and their ratio, by wavelength."""
        forecast, truth = sums[: self._waves], sums[self._waves :]
        if not truth.any():
            return None
        wavelengths = tuple(float(self._side / wave) for wave in range(1, self._waves + 1))
        lines = {"power ratio": ratio(forecast, truth), "power": forecast, "power of the truth": truth}
        return Curve("wavelength [cells]", wavelengths, lines)

    def _power(self, fields: Array, complete: NDArray[np.bool_]) -> Array:
        """Mean power in each ring of wave numbers, ``B K L C``; 0 for a frame that is not complete."""
        whole = np.where(complete[..., None, None], fields, 0.0)
        transformed = np.fft.fft2(whole, axes=_SPACE)
        power = np.square(np.abs(transformed)) / (whole.shape[3] * whole.shape[4])
        flat = power.reshape(*power.shape[:3], -1)[..., self._order]
        means = np.add.reduceat(flat, self._first, axis=-1) / self._sizes
        return np.asarray(np.moveaxis(means[..., 1 : self._waves + 1], -1, 1))


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
