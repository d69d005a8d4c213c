"""Anomaly correlation against the climatology of the training part, centred and uncentred.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from stkit.evaluate.metric import Array, Comparison, Metric, ratio

_SPACE = (3, 4)


class _AnomalyCorrelation(Metric):
    """Correlation over the cells of each field, then the mean over the fields where it is defined.

    With anomalies ``f'`` and ``o'`` from the climatology and weights ``w``:
    ``sum(w f' o') / sqrt(sum(w f'^2) sum(w o'^2))`` (Wilks 2019, section 9.5).
    A field without anomaly has no correlation, so climatology itself has none.
    """

    centred: ClassVar[bool]
    better = "higher"
    unit = "1"
    statistics = 2
    bounds = (-1.0, 1.0)
    needs_climatology = True
    useful_from = 0.6

    def sums(self, comparison: Comparison) -> Array:
        if comparison.climatology is None:
            raise ValueError(f"{self.label} needs the climatology of the training part")
        counted = comparison.counted & np.isfinite(comparison.climatology)
        weights = counted * comparison.weights
        forecast = np.where(counted, comparison.forecast - comparison.climatology, 0.0)
        truth = np.where(counted, comparison.truth - comparison.climatology, 0.0)
        # Below this the anomaly is rounding of the fields, not a signal, and its correlation is noise.
        floor = _square_of_rounding(comparison, counted) * weights.sum(axis=_SPACE)
        if self.centred:
            forecast = np.where(counted, forecast - _mean(forecast, weights), 0.0)
            truth = np.where(counted, truth - _mean(truth, weights), 0.0)
        product = (weights * forecast * truth).sum(axis=_SPACE)
        forecast_power = (weights * np.square(forecast)).sum(axis=_SPACE)
        truth_power = (weights * np.square(truth)).sum(axis=_SPACE)
        defined = (forecast_power > floor) & (truth_power > floor)
        correlation = np.divide(
            product, np.sqrt(forecast_power) * np.sqrt(truth_power), out=np.zeros_like(product), where=defined
        )
        return np.stack([correlation, defined.astype(np.float64)], axis=1)

    def score(self, sums: Array) -> Array:
        return ratio(sums[0], sums[1])


class CentredAnomalyCorrelation(_AnomalyCorrelation):
    """The area mean of each anomaly field is taken off first: a uniform error of level does not count."""

    label = "ACC, centred"
    centred = True
    convention = (
        "centred anomaly correlation with the training climatology: over the counted cells of each field, "
        "area-weighted, the area mean removed; mean over the fields"
    )


class UncentredAnomalyCorrelation(_AnomalyCorrelation):
    """The anomalies are taken as they are."""

    label = "ACC, uncentred"
    centred = False
    convention = (
        "uncentred anomaly correlation with the training climatology: over the counted cells of each field, "
        "area-weighted, the area mean kept; mean over the fields"
    )


def _mean(values: Array, weights: Array) -> Array:
    """Weighted mean over space, ``B L C 1 1``."""
    total = weights.sum(axis=_SPACE, keepdims=True)
    weighted = (weights * values).sum(axis=_SPACE, keepdims=True)
    return np.asarray(np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0))


def _square_of_rounding(comparison: Comparison, counted: np.ndarray) -> Array:
    """Square of the float32 rounding of each field's largest value, ``B L C``."""
    largest = np.where(counted, np.abs(comparison.truth), 0.0).max(axis=_SPACE)
    return np.asarray(np.square(largest * np.finfo(np.float32).eps))
