"""A field whose law is known, and with it the error of the best possible forecast.

It is made on the fly from its seed: nothing is downloaded. Everything random comes in streams of its own, so that a
knob changes what it names and nothing else, and a longer record begins like a shorter one.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, following
from stkit.data.optimum import Optimum
from stkit.data.source import Axis, Fields, FieldSource, Grid, Variable
from stkit.data.synthetic_field_config import SyntheticFieldConfig
from stkit.data.synthetic_field_law import FieldLaw

_STEPS = {
    "month": np.timedelta64(30, "D"),
    "day": np.timedelta64(1, "D"),
    "hour": np.timedelta64(1, "h"),
}
_START, _FORCING, _NOISE, _LAND = range(4)
"""Streams of random numbers."""
_SMOOTH_LAND = 2.5
"""How fast the waves of what becomes land where it is high fall with their number."""


class SyntheticField(FieldSource):
    """One realisation of the law.

    Example:
        >>> config = SyntheticFieldConfig(name="synthetic_field", steps=24, height=8, width=8, velocity_x=1.0)
        >>> field = SyntheticField.from_config(config)
        >>> field.read(0, 3).shape
        (3, 1, 8, 8)

    Attributes:
        law: what it obeys.
        land: ``H W``, True on land.
    """

    def __init__(self, config: SyntheticFieldConfig) -> None:
        self.config = config
        self.law = FieldLaw(config)
        self.name = config.name
        self.variables = (Variable("field", "degC", "synthetic field"),)
        self.grid = Grid(
            config.height,
            config.width,
            Axis("y", np.arange(config.height, dtype=np.float64), "1"),
            Axis("x", np.arange(config.width, dtype=np.float64), "1"),
        )
        self.steps = config.steps
        self.times = _times(config)
        self.land = _land(config)
        self.licence = "made from its seed; no rights are claimed"

    @classmethod
    def from_config(cls, config: SyntheticFieldConfig) -> SyntheticField:
        """The field that a recipe names."""
        return cls(config)

    @property
    def identity(self) -> str:
        """All knobs: fields of other settings are other fields, on the same grid and dates."""
        return self.config.model_dump_json(exclude={"name"})

    @property
    def mask(self) -> NDArray[np.bool_]:
        """``H W``, False on land."""
        return ~self.land

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.source.FieldSource.read`."""
        seen = self.sea[start:stop, : self.config.height, : self.config.width]
        return np.where(self.land, np.float32(np.nan), seen)[:, None]

    def optimum(self, input_steps: int) -> Optimum:
        """See :meth:`stkit.data.source.FieldSource.optimum`."""
        from stkit.data.synthetic_field_optimum import best_forecast

        return best_forecast(self, input_steps)

    @cached_property
    def sea(self) -> NDArray[np.float32]:
        """``T Y X``: observations of the whole periodic sea, under the land and beyond open borders too, in degC."""
        config, law = self.config, self.law
        start, forcing, noise = (_stream(config.seed, which) for which in (_START, _FORCING, _NOISE))
        q, amplitude = law.forcing_memory, np.sqrt(law.spectrum)
        force = amplitude * _white(start, law.shape)
        state = law.prior(0)
        apart = state[..., 0, 0].real - np.abs(law.coupled()) ** 2 * state[..., 1, 1].real
        anomaly = law.coupled() * force + np.sqrt(np.maximum(apart, 0.0)) * _white(start, law.shape)
        growth, expected = law.growth(np.arange(config.steps)), law.expected(np.arange(config.steps))
        sea = np.empty((config.steps, *law.shape), dtype=np.float32)
        for step in range(config.steps):
            if step > 0:
                force = q * force + np.sqrt(1 - q**2) * amplitude * _white(forcing, law.shape)
                anomaly = law.propagator * anomaly + config.forcing_std * force
            seen = np.fft.ifft2(anomaly).real + config.noise_std * noise.standard_normal(law.shape)
            sea[step] = expected[step] + growth[step] * seen
        return sea


def _times(config: SyntheticFieldConfig) -> Times:
    first = np.array([config.first], dtype="datetime64[ns]")
    return np.concatenate([first, following(first[0], config.steps - 1, _STEPS[config.step])])


def _stream(seed: int, which: int) -> np.random.Generator:
    return np.random.default_rng((seed, which))


def _white(stream: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.complex128]:
    return np.asarray(np.fft.fft2(stream.standard_normal(shape)))


def _land(config: SyntheticFieldConfig) -> NDArray[np.bool_]:
    """The highest cells of a smooth random field, as many as are asked for."""
    shape = (config.height, config.width)
    count = round(config.land_fraction * shape[0] * shape[1])
    rows, columns = (np.fft.fftfreq(length) for length in shape)
    square = rows[:, None] ** 2 + columns[None, :] ** 2
    square[0, 0] = np.inf
    waves = _white(_stream(config.land_seed, _LAND), shape) * square ** (-_SMOOTH_LAND / 2)
    order = np.argsort(-np.fft.ifft2(waves).real, axis=None, kind="stable")
    land = np.zeros(shape[0] * shape[1], dtype=bool)
    land[order[:count]] = True
    return land.reshape(shape)
