"""The synthetic field obeys its law, and each knob does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stkit.data.prepare import from_source
from stkit.data.synthetic_field import SyntheticField
from stkit.data.synthetic_field_config import SyntheticFieldConfig
from tests.data.fields import config, seeds
from tests.oracles.linear_field import LinearField

SMALL = {"height": 6, "width": 8, "steps": 40}


def made(**values: Any) -> SyntheticField:
    return SyntheticField(SyntheticFieldConfig.model_validate({"name": "synthetic_field", **SMALL, **values}))


def values(**knobs: Any) -> np.ndarray:
    """``T H W``."""
    field = made(**knobs)
    return field.read(0, field.steps)[:, 0].astype(np.float64)


OTHER = {
    "height": 7,
    "width": 9,
    "steps": 41,
    "step": "day",
    "first": "1960-01-01",
    "seed": 1,
    "border": "open",
    "velocity_x": 0.5,
    "velocity_y": -0.5,
    "diffusion": 0.2,
    "memory_steps": 3.0,
    "forcing_std": 0.5,
    "forcing_slope": 0.0,
    "forcing_memory_steps": 2.0,
    "noise_std": 0.3,
    "mean": 10.0,
    "trend_per_step": 0.1,
    "season_amplitude": 2.0,
    "season_period_steps": 7.0,
    "variance_drift_per_step": 0.01,
    "land_fraction": 0.3,
    "land_seed": 5,
}


@pytest.mark.parametrize("knob", sorted(set(SyntheticFieldConfig.model_fields) - {"name"}))
def test_each_knob_acts(knob: str) -> None:
    base: dict[str, Any] = {}
    if knob == "land_seed":
        base["land_fraction"] = 0.3
    if knob == "season_period_steps":
        base["season_amplitude"] = 1.0
    one, other = made(**base), made(**{**base, knob: OTHER[knob]})
    seen, changed = one.read(0, one.steps), other.read(0, other.steps)
    same_times = one.times is not None and np.array_equal(one.times, other.times)
    assert not (same_times and np.array_equal(seen, changed, equal_nan=True))


@settings(max_examples=15)
@given(seed=seeds, start=st.integers(0, 30), length=st.integers(0, 9))
def test_a_field_is_a_function_of_its_seed(seed: int, start: int, length: int) -> None:
    one, again = made(seed=seed), made(seed=seed)
    read = one.read(start, start + length)
    assert read.shape == (length, 1, 6, 8)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, again.read(0, 40)[start : start + length])
    longer = made(seed=seed, steps=60)
    np.testing.assert_array_equal(longer.read(0, 40), one.read(0, 40))
    assert not np.array_equal(made(seed=seed + 1).read(0, 40), one.read(0, 40))


def test_what_is_added_is_added_and_nothing_else_changes() -> None:
    t = np.arange(40)[:, None, None]
    plain = values()
    np.testing.assert_allclose(values(mean=20.0) - plain, 5.0, atol=1e-5)
    np.testing.assert_allclose(values(trend_per_step=0.25) - plain, np.broadcast_to(0.25 * t, plain.shape), atol=1e-5)
    season = 2.0 * np.cos(2 * np.pi * t / 7)
    seasonal = values(season_amplitude=2.0, season_period_steps=7.0)
    np.testing.assert_allclose(seasonal - plain, np.broadcast_to(season, plain.shape), atol=1e-5)
    quiet = values(noise_std=0.0)
    np.testing.assert_allclose(values(noise_std=0.2) - quiet, 2 * (values(noise_std=0.1) - quiet), atol=1e-5)
    growth = np.exp(0.02 * t / 2)
    still = {"forcing_std": 0.0, "mean": 0.0}
    np.testing.assert_allclose(values(variance_drift_per_step=0.02, **still), growth * values(**still), atol=1e-5)


def test_the_flow_moves_a_pattern_by_its_velocity() -> None:
    pattern = np.random.default_rng(0).normal(size=(6, 8))

    def moved(**knobs: Any) -> np.ndarray:
        return np.fft.ifft2(made(memory_steps=None, **knobs).law.propagator * np.fft.fft2(pattern)).real

    np.testing.assert_allclose(moved(velocity_x=2.0, velocity_y=-1.0), np.roll(pattern, (-1, 2), (0, 1)), atol=1e-12)
    # Two steps of three cells in ten are the row of a wave three fifths of a cell further on.
    wave = np.cos(2 * np.pi * (np.arange(8) - 0.6) / 8)
    step = made(memory_steps=None, velocity_x=0.3).law.propagator
    start = np.fft.fft2(np.tile(np.cos(2 * np.pi * np.arange(8) / 8), (6, 1)))
    np.testing.assert_allclose(np.fft.ifft2(step**2 * start).real, np.tile(wave, (6, 1)), atol=1e-12)


def test_diffusion_spreads_a_spot_and_keeps_its_sum() -> None:
    law = made(height=33, width=41, memory_steps=None, diffusion=0.7, steps=2).law
    spot = np.zeros((33, 41))
    spot[16, 20] = 1.0
    spread = np.fft.ifft2(law.propagator**4 * np.fft.fft2(spot)).real
    y, x = np.arange(33) - 16, np.arange(41) - 20
    assert spread.sum() == pytest.approx(1.0)
    assert (spread * y[:, None] ** 2).sum() == pytest.approx(2 * 0.7 * 4, rel=1e-3)
    assert (spread * x**2).sum() == pytest.approx(2 * 0.7 * 4, rel=1e-3)


def test_the_spectrum_of_the_forcing() -> None:
    white = made(forcing_slope=0.0).law.spectrum
    np.testing.assert_allclose(white, 1.0)
    red = made(forcing_slope=3.0).law.spectrum
    assert red.mean() == pytest.approx(1.0)
    assert red[0, 2] / red[0, 1] == pytest.approx(2.0**-3)
    assert red[0, 0] == red[0, 1], "the mean has the power of the longest wave"


def test_variance_and_lag_correlation_are_those_of_the_law() -> None:
    """Of a long record, against the plain matrices of the oracle."""
    knobs = {"height": 3, "width": 4, "velocity_x": 0.7, "diffusion": 0.05, "memory_steps": 4.0}
    field = made(**knobs, forcing_memory_steps=1.5, steps=12_000, mean=0.0, step="hour")
    series = field.read(0, field.steps)[:, 0].reshape(field.steps, 12).astype(np.float64)
    expected = LinearField(field.config).covariance(0, 4)
    scale = expected[0, 0, 0, 0]
    for lag in range(4):
        found = series[lag:].T @ series[: field.steps - lag] / (field.steps - lag)
        np.testing.assert_allclose(found, expected[lag, :, 0], atol=0.1 * scale)


def test_the_variance_drifts() -> None:
    factor = 4.0
    drift = np.log(factor) / 2000
    field = values(steps=2000, variance_drift_per_step=drift, memory_steps=2.0, mean=0.0, step="day")
    first, last = field[:200].var(), field[-200:].var()
    assert last / first == pytest.approx(factor, rel=0.3)


@settings(max_examples=20)
@given(share=st.floats(0, 0.97), seed=seeds)
def test_land(share: float, seed: int) -> None:
    field = made(land_fraction=share, land_seed=seed)
    assert field.land.sum() == round(share * 48)
    seen = field.read(0, 5)
    np.testing.assert_array_equal(np.isnan(seen), np.broadcast_to(field.land, seen.shape))
    np.testing.assert_array_equal(field.valid, ~field.land)
    np.testing.assert_array_equal(made().read(0, 5)[..., ~field.land], seen[..., ~field.land])


def test_land_comes_in_patches() -> None:
    land = made(height=40, width=60, land_fraction=0.3, steps=2).land
    same = [(land == np.roll(land, 1, axis)).mean() for axis in (0, 1)]
    assert min(same) > 0.9, "scattered cells would agree in 58 % of the pairs"


def test_an_open_border_lets_unknown_water_in() -> None:
    closed, open_ = made(velocity_x=1.0), made(velocity_x=1.0, border="open")
    assert closed.law.shape == (6, 8)
    assert open_.law.shape == (12, 16)
    assert open_.read(0, 3).shape == (3, 1, 6, 8)


@pytest.mark.parametrize(
    ("step", "first", "expected"),
    [
        ("month", "2001-01-31", ["2001-01-31", "2001-02-28", "2001-03-31"]),
        ("day", "2000-02-28", ["2000-02-28", "2000-02-29", "2000-03-01"]),
        ("hour", "1999-12-31T22:00", ["1999-12-31T22", "1999-12-31T23", "2000-01-01T00"]),
    ],
)
def test_the_dates_are_real(step: str, first: str, expected: list[str]) -> None:
    field = made(step=step, first=first)
    np.testing.assert_array_equal(field.times[:3], np.array(expected, dtype="datetime64[ns]"))
    assert field.times.shape == (40,)
    assert field.step_name == step


def test_it_becomes_windows_like_any_record() -> None:
    field = made(steps=120, land_fraction=0.2, season_amplitude=2.0)
    chosen = config(dataset=field.config, transforms={"anomaly": "month"}, extra_inputs=["calendar", "mask"])
    data = from_source(chosen, field, 0)
    sample = data.train[0]
    assert sample["frames"].shape == (5, 1, 6, 8)
    assert bool(sample["valid"].logical_not().any())
    assert len(data.test) > 5


def test_windows_of_other_settings_are_other_windows() -> None:
    """Two runs are only compared on the same windows, and these have the same variables, grid and times."""

    def test_windows(**knobs: Any) -> str:
        field = made(steps=120, **knobs)
        return from_source(config(dataset=field.config), field, 0).windows_hash

    assert test_windows() == test_windows()
    assert len({test_windows(), test_windows(velocity_x=1.0), test_windows(seed=1)}) == 3


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"first": "yesterday"}, "should be a date such as 1950-01-01"),
        ({"first": "1950-01-01T00:00+02:00"}, "without a time zone"),
        ({"first": "0980-01-01"}, "should lie in the years 1700 to 2250"),
        ({"steps": 4000}, "4000 steps of a month from 1950-01-01 end after 2250"),
        ({"steps": 90_000, "step": "hour", "height": 100, "width": 100}, "would take 3.4 GB"),
        ({"variance_drift_per_step": 0.6}, r"factor of e\^24"),
        ({"land_fraction": 0.999}, "leaves no sea on 6 x 8 cells"),
        ({"memory_steps": 0}, "greater than 0"),
        ({"velocity": 2}, "Extra inputs"),
    ],
)
def test_knobs_that_cannot_be(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        made(**knobs)
