"""The law of the synthetic field: linear, Gaussian, and diagonal in Fourier space.

Each wave of the periodic sea has a state ``z = (a, f)``, anomaly and forcing. With ``g_t = exp(drift t / 2)``, by which
everything random grows, the anomaly counted in units of ``g_t`` obeys a law that does not change in time::

    a_t = p a_{t-1} + s f_t        p = exp(-drift / 2 - i k.v - (kappa |k|^2 + 1 / memory))
    f_t = q f_{t-1} + sqrt((1 - q^2) S(k)) w_t
    observed_t / g_t = a_t + n e_t

``S`` is the spectrum of the forcing, with mean 1 over the waves; ``w`` and ``e`` are white noise of variance 1.

Axes: ``Y X`` the waves of the sea, as :func:`numpy.fft.fft2` has them; ``2`` the state. A covariance of waves is given
in units of that of white noise, so that its mean over the waves is the variance in a cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.data.synthetic_field_config import SyntheticFieldConfig

Waves = NDArray[np.complex128]
Covariance = NDArray[np.complex128]
"""``Y X 2 2``."""

_UNDAMPED = 1e-12
"""A wave that loses less than this share of its power in a step has no stationary state."""


class FieldLaw:
    """The law with the numbers of a configuration.

    Attributes:
        shape: ``Y X``, rows and columns of the sea.
        propagator: ``Y X``, ``p``, what is left of a wave after a step, in units that grow with the drift.
        spectrum: ``Y X``, ``S``.
        forcing_memory: ``q``, correlation of the forcing from step to step.
        noise_variance: ``n^2``, of the observations at the first step.
        stationary: whether the prior is the same at every step, in units that grow with the drift.
    """

    def __init__(self, config: SyntheticFieldConfig) -> None:
        self.config = config
        self.shape = (config.sea_height, config.sea_width)
        rows, columns = (np.asarray(2 * np.pi * np.fft.fftfreq(count), dtype=np.float64) for count in self.shape)
        square = rows[:, None] ** 2 + columns[None, :] ** 2
        damping = config.diffusion * square + (0.0 if config.memory_steps is None else 1.0 / config.memory_steps)
        moved = np.outer(_shift(rows, config.velocity_y), _shift(columns, config.velocity_x))
        without_drift = np.asarray(moved * np.exp(-damping), dtype=np.complex128)
        self.propagator: Waves = without_drift * np.exp(-config.variance_drift_per_step / 2)
        self.spectrum = _spectrum(square, config.forcing_slope)
        tau = config.forcing_memory_steps
        self.forcing_memory = float(np.exp(-1.0 / tau)) if tau > 0 else 0.0
        self.noise_variance = config.noise_std**2
        self._first = self._stationary_state(without_drift)
        undamped = bool((np.abs(without_drift) ** 2 > 1 - _UNDAMPED).any())
        self.stationary = config.variance_drift_per_step == 0 and not undamped
        self.step = self._transition()
        self.innovation = self._innovation()

    def growth(self, times: Any) -> NDArray[np.float64]:
        """``g_t``, the factor of everything random at some steps of the record."""
        return np.asarray(np.exp(self.config.variance_drift_per_step * np.asarray(times, dtype=np.float64) / 2))

    def expected(self, times: Any) -> NDArray[np.float64]:
        """Mean, trend and season at some steps of the record, in degC; the same in every cell."""
        config, t = self.config, np.asarray(times, dtype=np.float64)
        season = config.season_amplitude * np.cos(2 * np.pi * t / config.season_period_steps)
        return np.asarray(config.mean + config.trend_per_step * t + season)

    def prior(self, time: int) -> Covariance:
        """Covariance of the waves at a step before anything is observed, in units of ``g_t^2``."""
        if self.stationary or time == 0:
            return self._first
        # Sum of step^i innovation step^i* by doubling: what is random so far grows with the square of the time.
        power, noise = np.broadcast_to(np.eye(2, dtype=np.complex128), self.step.shape), np.zeros_like(self.innovation)
        for bit in bin(time)[2:]:
            noise = noise + carried(power, noise)
            power = power @ power
            if bit == "1":
                noise = carried(self.step, noise) + self.innovation
                power = self.step @ power
        return carried(power, self._first) + noise

    def forward(self, covariance: Covariance) -> Covariance:
        """The covariance one step on, in units that have grown with the drift."""
        return carried(self.step, covariance) + self.innovation

    def coupled(self) -> Waves:
        """``Y X``: the anomaly that goes with a forcing of 1 in the stationary state; 0 for waves without one."""
        forcing = self._first[..., 1, 1].real
        return np.divide(self._first[..., 0, 1], forcing, out=np.zeros_like(self.propagator), where=forcing > 0)

    def _transition(self) -> Covariance:
        step = np.zeros((*self.shape, 2, 2), dtype=np.complex128)
        step[..., 0, 0] = self.propagator
        step[..., 0, 1] = self.config.forcing_std * self.forcing_memory
        step[..., 1, 1] = self.forcing_memory
        return step

    def _innovation(self) -> Covariance:
        power = (1 - self.forcing_memory**2) * self.spectrum
        both = np.array([self.config.forcing_std, 1.0])
        return np.asarray(power[..., None, None] * np.outer(both, both), dtype=np.complex128)

    def _stationary_state(self, propagator: Waves) -> Covariance:
        """Where the record starts: the stationary state for the amplitude of the first step; undamped waves at rest."""
        std, q, forcing = self.config.forcing_std, self.forcing_memory, self.spectrum
        lost = 1 - np.abs(propagator) ** 2
        damped = lost > _UNDAMPED
        cross = np.where(damped, std * forcing / np.where(damped, 1 - propagator * q, 1.0), 0.0)
        power = std**2 * forcing + 2 * std * q * (propagator * cross).real
        first = np.zeros((*self.shape, 2, 2), dtype=np.complex128)
        first[..., 0, 0] = np.where(damped, power / np.where(damped, lost, 1.0), 0.0)
        first[..., 0, 1] = cross
        first[..., 1, 0] = cross.conj()
        first[..., 1, 1] = forcing
        return first


def carried(step: Covariance, covariance: Covariance) -> Covariance:
    """``A C A*`` for each wave."""
    return np.asarray(step @ covariance @ step.conj().swapaxes(-1, -2))


def _shift(wave_numbers: NDArray[np.float64], cells: float) -> Waves:
    """What moving by some cells does to each wave of a row or column.

    The shortest wave of an even number of cells stands for both directions, and takes their mean: a real number.
    """
    moved = np.exp(-1j * wave_numbers * cells)
    shortest = np.isclose(np.abs(wave_numbers), np.pi)
    return np.asarray(np.where(shortest, moved.real, moved))


def _spectrum(square: NDArray[np.float64], slope: float) -> NDArray[np.float64]:
    longest = np.sort(square, axis=None)[1]
    power = np.maximum(square, longest) ** (-slope / 2)
    return np.asarray(power / power.mean())
