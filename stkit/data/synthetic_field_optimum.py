"""The best possible forecast of the synthetic field, and its expected error.

Where every cell of the sea is seen, the waves do not know of each other: a Kalman filter for each of them goes through
the context and on to the lead times. Where land or an open border hides cells, the future is conditioned on all seen
cells of the context at once, by their joint covariance. Where that is too large, what is hidden is shown to the filter:
no forecast without it can be better in the mean, so its error is a bound from below.

Axes: ``T`` context, ``N`` lead times, ``H W`` grid, ``Y X`` the sea or its waves, ``D`` seen cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stkit.data.optimum import Context, Errors, Optimum
from stkit.data.synthetic_field import SyntheticField
from stkit.data.synthetic_field_law import Covariance, FieldLaw

MOST_SEEN, MOST_SEEN_CHANGING = 3000, 1000
"""Values of a context (steps times seen cells) up to which their covariance is inverted: once for all contexts where
the prior stays the same, or once for each."""

_NUGGET = 1e-10
"""Share of the variance that is added on the diagonal of a covariance, far below what single precision keeps."""


def best_forecast(field: SyntheticField, input_steps: int) -> Optimum:
    """The best possible forecast of a field from so many steps, or a bound where that is too large to compute."""
    seen = int((~field.land).sum())
    if seen == field.law.spectrum.size:
        return Filtered(field, input_steps)
    most = MOST_SEEN if field.law.stationary else MOST_SEEN_CHANGING
    return Conditioned(field, input_steps) if seen * input_steps <= most else Filtered(field, input_steps)


class _Filter(NamedTuple):
    gains: tuple[NDArray[np.complex128], ...]
    """For each step of the context ``Y X 2``: what the state takes of an observation that differs from its forecast."""
    covariance: Covariance
    """After the last step."""


class Filtered(Optimum):
    """A Kalman filter for each wave of the sea; what land and borders hide is shown to it."""

    def __init__(self, field: SyntheticField, input_steps: int) -> None:
        self.field, self.law, self.input_steps = field, field.law, input_steps
        self.exact = field.grid.shape == field.law.shape and not field.land.any()
        self.about = "exact, by a Kalman filter of the field's waves"
        if not self.exact:
            self.about = "a bound: a Kalman filter that also sees what land and open borders hide"
        self._kept: _Filter | None = None

    def forecast(self, context: Context, start: int, horizon: int) -> NDArray[np.float32]:
        """See :meth:`stkit.data.optimum.Optimum.forecast`."""
        law, steps, grid = self.law, self.input_steps, self.field.grid
        times = np.arange(start, start + steps + horizon)
        seen = context[:, 0] if self.exact else self.field.sea[start : start + steps]
        growth, expected = law.growth(times)[:, None, None], law.expected(times)[:, None, None]
        waves = np.fft.fft2((seen.astype(np.float64) - expected[:steps]) / growth[:steps])
        state = np.zeros((*law.shape, 2), dtype=np.complex128)
        for wave, gain in zip(waves, self._filter(start).gains, strict=True):
            state = _moved(law, state)
            state = state + gain * (wave - state[..., 0])[..., None]
        out = np.empty((horizon, 1, *grid.shape), dtype=np.float32)
        for lead in range(horizon):
            state = _moved(law, state)
            anomaly = np.fft.ifft2(state[..., 0]).real[: grid.height, : grid.width]
            out[lead, 0] = expected[steps + lead] + growth[steps + lead] * anomaly
        out[..., self.field.land] = np.nan
        return out

    def squared_error(self, start: int, horizon: int) -> Errors:
        """See :meth:`stkit.data.optimum.Optimum.squared_error`."""
        covariance = self._filter(start).covariance
        errors = np.empty(horizon)
        for lead in range(horizon):
            covariance = self.law.forward(covariance)
            errors[lead] = _variance(covariance)
        return _observed(self.law, errors, start + self.input_steps)

    def _filter(self, start: int) -> _Filter:
        if self._kept is not None:
            return self._kept
        made = _filtered(self.law, start, self.input_steps)
        if self.law.stationary:
            self._kept = made
        return made


class Conditioned(Optimum):
    """The joint covariance of all seen cells of the context and the lead times."""

    def __init__(self, field: SyntheticField, input_steps: int) -> None:
        self.field, self.law, self.input_steps = field, field.law, input_steps
        self.exact = True
        self.about = "exact, by the joint covariance of all cells that are seen"
        self._seen = np.flatnonzero(~field.land)
        self._kept: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def forecast(self, context: Context, start: int, horizon: int) -> NDArray[np.float32]:
        """See :meth:`stkit.data.optimum.Optimum.forecast`."""
        law, grid, steps = self.law, self.field.grid, self.input_steps
        times = np.arange(start, start + steps + horizon)
        growth, expected = law.growth(times)[:, None], law.expected(times)[:, None]
        known = context.reshape(steps, -1)[:, self._seen].astype(np.float64)
        weights, _ = self._solved(start, horizon)
        ahead = (weights @ ((known - expected[:steps]) / growth[:steps]).ravel()).reshape(horizon, -1)
        out = np.full((horizon, grid.height * grid.width), np.nan, dtype=np.float32)
        out[:, self._seen] = expected[steps:] + growth[steps:] * ahead
        return out.reshape(horizon, 1, *grid.shape)

    def squared_error(self, start: int, horizon: int) -> Errors:
        """See :meth:`stkit.data.optimum.Optimum.squared_error`."""
        _, errors = self._solved(start, horizon)
        return _observed(self.law, errors, start + self.input_steps)

    def _solved(self, start: int, horizon: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights of the context ``N D, T D`` and the mean squared error of the anomaly ``N``."""
        if horizon in self._kept:
            return self._kept[horizon]
        solved = self._solve(start, horizon)
        if self.law.stationary:
            self._kept[horizon] = solved
        return solved

    def _solve(self, start: int, horizon: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from scipy.linalg import cho_factor, cho_solve

        count, steps = len(self._seen), self.input_steps
        apart = self._places()
        context = np.empty((steps, count, steps, count))
        ahead = np.empty((horizon, count, steps, count))
        variance = np.empty(horizon)
        now = self.law.prior(start)
        for step in range(steps + horizon):
            if step >= steps:
                variance[step - steps] = _variance(now)
            else:
                later = now
                for other in range(step, steps + horizon):
                    between = np.fft.ifft2(later[..., 0, 0]).real.ravel()[apart]
                    if other < steps:
                        context[other, :, step], context[step, :, other] = between, between.T
                    else:
                        ahead[other - steps, :, step] = between
                    later = self.law.step @ later
            now = self.law.forward(now)
        matrix, right = context.reshape(steps * count, -1), ahead.reshape(horizon * count, -1)
        diagonal = np.einsum("ii->i", matrix)
        diagonal += self.law.noise_variance + _NUGGET * (float(diagonal.mean()) or 1.0)
        weights = cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), right.T).T
        known = (weights * right).sum(-1).reshape(horizon, count).mean(-1)
        return weights, np.maximum(variance - known, 0.0)

    def _places(self) -> NDArray[np.int64]:
        """``D D``: for each pair of seen cells, where on the sea their distance lies, as a flat index."""
        rows, columns = np.divmod(self._seen, self.field.grid.width)
        down = (rows[:, None] - rows) % self.law.shape[0]
        across = (columns[:, None] - columns) % self.law.shape[1]
        return np.asarray(down * self.law.shape[1] + across)


def _filtered(law: FieldLaw, start: int, steps: int) -> _Filter:
    gains = []
    covariance = law.prior(start)
    for step in range(steps):
        if step > 0:
            covariance = law.forward(covariance)
        total = covariance[..., 0, 0].real + law.noise_variance
        seen = covariance[..., :, 0]
        gain = np.divide(seen, total[..., None], out=np.zeros_like(seen), where=total[..., None] > 0)
        covariance = covariance - gain[..., :, None] * covariance[..., None, 0, :]
        gains.append(gain)
    return _Filter(tuple(gains), covariance)


def _moved(law: FieldLaw, state: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The state of each wave (``Y X 2``) one step on."""
    return np.asarray((law.step @ state[..., None])[..., 0])


def _variance(covariance: Covariance) -> float:
    """Variance of the anomaly in a cell."""
    return float(covariance[..., 0, 0].real.mean())


def _observed(law: FieldLaw, errors: NDArray[np.float64], first: int) -> Errors:
    """From the squared error of the anomaly at consecutive steps to that of the observed field, ``N C``."""
    growth = law.growth(np.arange(first, first + len(errors)))
    return ((errors + law.noise_variance) * growth**2)[:, None]
