"""Scores of single cells: squared and absolute error, bias, and the sums over a frame of Moving MNIST.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``S`` statistics of the score.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from stkit.evaluate.metric import Array, Comparison, Metric, ratio


class _CellMean(Metric):
    """Area-weighted mean, over all counted cells of all windows, of a function of the error."""

    statistics = 2

    @staticmethod
    @abstractmethod
    def _of_error(error: Array) -> Array: ...

    def sums(self, comparison: Comparison) -> Array:
        weights = comparison.counted * comparison.weights
        error = np.where(comparison.counted, comparison.forecast - comparison.truth, 0.0)
        total = (weights * self._of_error(error)).sum(axis=(3, 4))
        return np.stack([total, weights.sum(axis=(3, 4))], axis=1)

    def score(self, sums: Array) -> Array:
        return ratio(sums[0], sums[1])


class MeanSquaredError(_CellMean):
    """Mean squared error. Skill is made from it."""

    label = "MSE"
    convention = (
        "mean squared error over the counted cells of all windows, "
        "weighted by the cosine of latitude where there is one"
    )
    better = "lower"
    bounds = (0.0, math.inf)
    unit = "({u})^2"

    @staticmethod
    def _of_error(error: Array) -> Array:
        return np.asarray(np.square(error))


class RootMeanSquaredError(MeanSquaredError):
    """The root is taken once, of the mean over all windows: not a mean of each window's root."""

    label = "RMSE"
    convention = (
        "root of the mean squared error over the counted cells of all windows, "
        "weighted by the cosine of latitude where there is one"
    )
    unit = "{u}"

    def score(self, sums: Array) -> Array:
        """Root of the mean, ``L C``."""
        return np.asarray(np.sqrt(super().score(sums)))


class MeanAbsoluteError(_CellMean):
    """Mean absolute error."""

    label = "MAE"
    convention = (
        "mean absolute error over the counted cells of all windows, "
        "weighted by the cosine of latitude where there is one"
    )
    better = "lower"
    bounds = (0.0, math.inf)
    unit = "{u}"

    @staticmethod
    def _of_error(error: Array) -> Array:
        return np.asarray(np.abs(error))


class Bias(_CellMean):
    """Mean error; positive where the forecast is too high."""

    label = "bias"
    convention = (
        "mean of forecast minus truth over the counted cells of all windows, "
        "weighted by the cosine of latitude where there is one"
    )
    better = "zero"
    unit = "{u}"

    @staticmethod
    def _of_error(error: Array) -> Array:
        return error


class _FrameSum(Metric):
    """Sum over the cells of a frame, mean over the frames: the convention of Moving MNIST. No latitude weights."""

    statistics = 2

    @staticmethod
    @abstractmethod
    def _of_error(error: Array) -> Array: ...

    def sums(self, comparison: Comparison) -> Array:
        error = np.where(comparison.counted, comparison.forecast - comparison.truth, 0.0)
        total = self._of_error(error).sum(axis=(3, 4))
        frames = comparison.counted.any(axis=(3, 4)).astype(np.float64)
        return np.stack([total, frames], axis=1)

    def score(self, sums: Array) -> Array:
        return ratio(sums[0], sums[1])


class SquaredErrorPerFrame(_FrameSum):
    """``MSE`` of the Moving MNIST tables (Srivastava et al. 2015): values in [0, 1], summed over the frame."""

    label = "MSE per frame"
    convention = "squared error summed over the counted cells of a frame, mean over frames, not weighted (Moving MNIST)"
    better = "lower"
    bounds = (0.0, math.inf)
    unit = "({u})^2"

    @staticmethod
    def _of_error(error: Array) -> Array:
        return np.asarray(np.square(error))


class AbsoluteErrorPerFrame(_FrameSum):
    """``MAE`` of the Moving MNIST tables: values in [0, 1], summed over the frame."""

    label = "MAE per frame"
    convention = (
        "absolute error summed over the counted cells of a frame, mean over frames, not weighted (Moving MNIST)"
    )
    better = "lower"
    bounds = (0.0, math.inf)
    unit = "{u}"

    @staticmethod
    def _of_error(error: Array) -> Array:
        return np.asarray(np.abs(error))
