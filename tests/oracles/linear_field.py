"""The synthetic field in plain matrices over cells, without Fourier space: an oracle for its law and its best forecast.

The state is ``(a, f)``, anomaly and forcing in every cell; nothing is counted in units that drift. ``N`` cells.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from stkit.data.synthetic_field_config import SyntheticFieldConfig


class LinearField:
    """Covariance of all cells and steps, and the future conditioned on the past by it."""

    def __init__(self, config: SyntheticFieldConfig) -> None:
        self.config = config
        shape = self.shape = (config.sea_height, config.sea_width)
        damping = 0.0 if config.memory_steps is None else 1 / config.memory_steps
        velocity = (config.velocity_y, config.velocity_x)
        self.move = kernel_matrix(shape, velocity, lambda square: np.exp(-damping - config.diffusion * square))
        longest = (2 * np.pi / max(shape)) ** 2
        power = kernel_matrix(shape, (0, 0), lambda square: np.maximum(square, longest) ** (-config.forcing_slope / 2))
        self.forcing = power / power[0, 0]
        tau = config.forcing_memory_steps
        self.memory = np.exp(-1 / tau) if tau else 0.0
        self.cells = shape[0] * shape[1]
        rows, columns = np.divmod(np.arange(self.cells), shape[1])
        self.inside = (rows < config.height) & (columns < config.width)

    def first(self) -> np.ndarray:
        """``2N 2N`` covariance of the state at step 0: stationary at the first amplitude; what never dies out rests."""
        config, count = self.config, self.cells
        # A shift by part of a cell damps the shortest wave even where nothing else does.
        left, patterns = np.linalg.eig(self.move)
        keep = (patterns @ np.diag(np.abs(left) < 1 - 1e-9) @ np.linalg.inv(patterns)).real
        transition = self._transition(config.forcing_std)
        transition[:count] = keep @ transition[:count]
        into = np.concatenate([config.forcing_std * keep, np.eye(count)])
        noise = (1 - self.memory**2) * into @ self.forcing @ into.T
        return solve_discrete_lyapunov(transition, noise)

    def covariance(self, start: int, length: int) -> np.ndarray:
        """``T N T N`` of the observed anomaly at the steps ``start`` and after."""
        count = self.cells
        now = self.first()
        for step in range(1, start + 1):
            now = self._forward(now, step)
        out = np.empty((length, count, length, count))
        for one in range(length):
            if one:
                now = self._forward(now, start + one)
            later = now
            for other in range(one, length):
                if other > one:
                    later = self._transition(self._amplitude(start + other)) @ later
                out[other, :, one] = later[:count, :count]
                out[one, :, other] = later[:count, :count].T
            out[one, :, one] += np.eye(count) * (self.config.noise_std * self._growth(start + one)) ** 2
        return out

    def condition(
        self, anomaly: np.ndarray, start: int, horizon: int, seen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the future (``horizon D``) given the observed anomaly (``T D``) of the seen cells, and its error."""
        steps, count = anomaly.shape
        joint = self.covariance(start, steps + horizon)[:, seen][:, :, :, seen].reshape(2 * [(steps + horizon) * count])
        known = steps * count
        weights = np.linalg.solve(joint[:known, :known] + 1e-12 * np.eye(known), joint[:known, known:]).T
        left = np.diag(joint[known:, known:] - weights @ joint[:known, known:]).reshape(horizon, count)
        return (weights @ anomaly.ravel()).reshape(horizon, count), left.mean(1)

    def _forward(self, now: np.ndarray, step: int) -> np.ndarray:
        transition = self._transition(self._amplitude(step))
        into = np.concatenate([self._amplitude(step) * np.eye(self.cells), np.eye(self.cells)])
        return transition @ now @ transition.T + (1 - self.memory**2) * into @ self.forcing @ into.T

    def _transition(self, amplitude: float) -> np.ndarray:
        eye = np.eye(self.cells)
        return np.block([[self.move, amplitude * self.memory * eye], [0 * eye, self.memory * eye]])

    def _amplitude(self, step: int) -> float:
        return self.config.forcing_std * self._growth(step)

    def _growth(self, step: int) -> float:
        return float(np.exp(self.config.variance_drift_per_step * step / 2))


def kernel_matrix(shape: tuple[int, int], velocity: tuple[float, float], response) -> np.ndarray:
    """``N N``: move by the velocity and weigh each wave, by sums of cosines (trigonometric interpolation)."""
    kernel = np.zeros(shape)
    waves = [range(-(count // 2), count // 2 + 1) for count in shape]
    places = [np.arange(count) - moved for count, moved in zip(shape, velocity, strict=True)]
    for row in waves[0]:
        for column in waves[1]:
            # The shortest wave of an even count stands at both ends of the range, half at each.
            share = np.prod([0.5 if 2 * abs(n) == count else 1 for n, count in zip((row, column), shape, strict=True)])
            numbers = [2 * np.pi * n / count for n, count in zip((row, column), shape, strict=True)]
            phase = numbers[0] * places[0][:, None] + numbers[1] * places[1]
            kernel += share * response(numbers[0] ** 2 + numbers[1] ** 2) * np.cos(phase)
    kernel /= shape[0] * shape[1]
    rows, columns = np.divmod(np.arange(kernel.size), shape[1])
    return kernel[(rows[:, None] - rows) % shape[0], (columns[:, None] - columns) % shape[1]]
