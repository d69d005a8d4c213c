"""The best possible forecast of the synthetic field, against plain matrices, against its record, and against others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stkit.data.optimum import Optimum
from stkit.data.record import SpanRecord
from stkit.data.synthetic_field import SyntheticField
from stkit.data.synthetic_field_config import SyntheticFieldConfig
from stkit.data.synthetic_field_optimum import Conditioned, Filtered
from stkit.evaluate.baselines import DampedAnomaly, Persistence
from tests.data.fields import seeds
from tests.oracles.linear_field import LinearField

KNOBS = {
    "height": st.integers(2, 4),
    "width": st.integers(2, 4),
    "velocity_x": st.sampled_from([0.0, 1.0, 0.4, -1.7]),
    "velocity_y": st.sampled_from([0.0, 0.6]),
    "diffusion": st.sampled_from([0.0, 0.1, 0.5]),
    "memory_steps": st.sampled_from([None, 1.0, 6.0]),
    "forcing_std": st.sampled_from([0.0, 0.5]),
    "forcing_slope": st.sampled_from([0.0, 2.0, 3.5]),
    "forcing_memory_steps": st.sampled_from([0.0, 2.0]),
    "noise_std": st.sampled_from([0.0, 0.3]),
    "trend_per_step": st.sampled_from([0.0, 0.05]),
    "season_amplitude": st.sampled_from([0.0, 1.0]),
    "variance_drift_per_step": st.sampled_from([0.0, 0.05, -0.05]),
    "land_fraction": st.sampled_from([0.0, 0.25, 0.5]),
    "border": st.sampled_from(["periodic", "open"]),
}


def made(**knobs: Any) -> SyntheticField:
    return SyntheticField(SyntheticFieldConfig.model_validate({"name": "synthetic_field", "steps": 24, **knobs}))


@settings(max_examples=30)
@given(knobs=st.fixed_dictionaries(KNOBS), seed=seeds, start=st.integers(0, 15), steps=st.integers(1, 4))
def test_it_is_the_conditional_mean_of_the_oracle(knobs: dict[str, Any], seed: int, start: int, steps: int) -> None:
    assume(knobs["border"] == "periodic" or knobs["height"] * knobs["width"] <= 6)
    field = made(seed=seed, **knobs)
    optimum, horizon = field.optimum(steps), 3
    assert optimum.exact
    fields = field.read(start, start + steps + horizon)
    sea = ~field.land.ravel()
    expected = field.law.expected(np.arange(start, start + steps + horizon))[:, None]
    known = fields[:steps].reshape(steps, -1)[:, sea] - expected[:steps]
    oracle = LinearField(field.config)
    seen = oracle.inside.copy()
    seen[seen] = sea
    mean, error = oracle.condition(known, start, horizon, seen)
    said = optimum.forecast(fields[:steps], start, horizon)
    assert said.shape == (horizon, 1, *field.grid.shape)
    np.testing.assert_array_equal(np.isnan(said[:, 0]), np.broadcast_to(field.land, said[:, 0].shape))
    # Single precision of the record, which a forecast without noise of observation leans on.
    np.testing.assert_allclose(said.reshape(horizon, -1)[:, sea], mean + expected[steps:], atol=2e-4)
    np.testing.assert_allclose(optimum.squared_error(start, horizon)[:, 0], error, rtol=1e-4, atol=1e-7)


def windows(field: SyntheticField, steps: int, horizon: int, every: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, contexts ``B T C H W`` and futures ``B N C H W``."""
    starts = np.arange(0, field.steps - steps - horizon + 1, every)
    fields = field.read(0, field.steps)[starts[:, None] + np.arange(steps + horizon)]
    return starts, fields[:, :steps], fields[:, steps:]


def forecasts(optimum: Optimum, starts: np.ndarray, contexts: np.ndarray, horizon: int) -> np.ndarray:
    return np.stack([optimum.forecast(one, int(at), horizon) for at, one in zip(starts, contexts, strict=True)])


def by_window(said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Squared error ``B N``."""
    return np.nanmean((said.astype(np.float64) - truth) ** 2, axis=(2, 3, 4))


CASES = {
    "plain": {},
    "moving": {"velocity_x": 1.3, "velocity_y": -0.6, "diffusion": 0.1},
    "steady change": {"forcing_memory_steps": 3.0, "velocity_x": 0.5, "noise_std": 0.2},
    "land": {"land_fraction": 0.4, "velocity_x": 1.0, "forcing_slope": 1.0},
    "open border": {"border": "open", "velocity_x": 1.0},
    "random walk": {"memory_steps": None, "trend_per_step": 0.01},
    "drifting variance": {"variance_drift_per_step": 0.0004, "season_amplitude": 2.0},
    "noise alone": {"forcing_std": 0.0, "noise_std": 0.5},
}
SIZE = {"height": 6, "width": 8, "steps": 3000, "step": "day"}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "-"))
def case(request: pytest.FixtureRequest) -> tuple[SyntheticField, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A long record: the field, starts, contexts, futures and the best possible forecasts; windows 16 steps apart."""
    field = made(**SIZE, **CASES[request.param])
    starts, contexts, truth = windows(field, 4, 3, 16)
    return field, starts, contexts, truth, forecasts(field.optimum(4), starts, contexts, 3)


def test_its_error_is_the_expected_one(case) -> None:
    field, starts, _, truth, said = case
    errors = by_window(said, truth)
    expected = np.array(
        [field.optimum(4).squared_error(int(at), 3)[:, 0] for at in starts[:: max(1, len(starts) // 25)]]
    )
    spread = errors.std(0) / np.sqrt(len(errors))
    assert (np.abs(errors.mean(0) - expected.mean(0)) < 4 * spread).all()


def test_no_forecast_beats_it(case) -> None:
    """Neither a baseline, nor itself scaled, nor a regression that was fitted to thousands of cells."""
    field, starts, contexts, truth, said = case
    best = by_window(said, truth)
    level = field.law.expected(starts[:, None] + np.arange(4, 7))[:, :, None, None, None]
    last = torch.from_numpy(contexts)
    rivals = {
        "persistence": Persistence().forecast(last, None, 3).numpy(),
        "damped": DampedAnomaly("mean", 8).fit(SpanRecord(field, 0, 500)).forecast(last, None, 3).numpy(),
        "mean": np.broadcast_to(level, truth.shape),
        "bolder": level + 1.3 * (said - level),
        "shyer": level + 0.7 * (said - level),
    }
    for name, rival in rivals.items():
        more = by_window(rival, truth) - best
        spread = more.std(0) / np.sqrt(len(more))
        assert (more.mean(0) > -3.5 * spread - 1e-9).all(), name


def test_what_is_left_is_not_in_the_context(case) -> None:
    """The error of a conditional mean is uncorrelated with everything that was known."""
    field, starts, contexts, truth, said = case
    sea = ~field.land
    error = (truth - said)[:, :, 0][..., sea]
    known = contexts[:, :, 0][..., sea] - field.law.expected(starts[:, None] + np.arange(4))[..., None]
    scale = field.law.growth(starts)[:, None]
    for lead in range(3):
        for step in range(4):
            for shift in (0, 1):
                product = error[:, lead] * np.roll(known[:, step], shift, -1) / scale**2
                mean, spread = product.mean(1).mean(), product.mean(1).std() / np.sqrt(len(product))
                assert abs(mean) < 4.5 * spread + 1e-9


def test_a_regression_on_the_context_comes_close_to_it_and_not_below() -> None:
    """Least squares on ten neighbouring values of the context, from 96 000 cells: the bar is not set too low."""
    field = made(**SIZE, velocity_x=1.0, noise_std=0.2)
    _, contexts, truth = windows(field, 2, 1, 1)

    def features(part: slice) -> np.ndarray:
        moved = [np.roll(contexts[part, step, 0], shift, -1) for step in range(2) for shift in range(-1, 4)]
        return np.stack([*moved, np.ones_like(moved[0])], axis=-1).reshape(-1, 11).astype(np.float64)

    learn, test = slice(0, 2000), slice(2100, None)
    slope, *_ = np.linalg.lstsq(features(learn), truth[learn].ravel().astype(np.float64), rcond=None)
    rest = (features(test) @ slope - truth[test].ravel()) ** 2
    regression = rest.reshape(len(truth[test]), -1).mean(1)
    starts = np.arange(2100, 2100 + len(truth[test]))
    best = by_window(forecasts(field.optimum(2), starts, contexts[test], 1), truth[test])[:, 0]
    more = (regression - best).mean()
    assert -3 * (regression - best).std() / np.sqrt(len(best) / 10) < more < 0.1 * best.mean()


@pytest.mark.parametrize("name", ["plain", "moving", "steady change", "noise alone"])
def test_persistence_and_damped_persistence_meet_their_closed_form(name: str) -> None:
    """``2 (c_0 - c_n) + 2 v`` and ``c_0 + v - c_n^2 / (c_0 + v)``: c lag covariance, v variance of observation."""
    field = made(**{**SIZE, **CASES[name]}, mean=0.0)
    covariance = LinearField(field.config).covariance(0, 4)[:, 0, 0, 0]
    total = covariance[0]  # with the noise
    lag = covariance[1:]
    _, contexts, truth = windows(field, 1, 3, 4)
    for damping, expected in ((np.ones(3), 2 * (total - lag)), (lag / total, total - lag**2 / total)):
        errors = by_window(damping[:, None, None, None] * contexts, truth)
        spread = errors.std(0) / np.sqrt(len(errors) / 8)
        assert (np.abs(errors.mean(0) - expected) < 4 * spread).all()


def test_more_context_never_hurts_and_further_ahead_is_never_easier() -> None:
    for knobs in CASES.values():
        field = made(**{**SIZE, **knobs})
        errors = [field.optimum(steps).squared_error(8 - steps, 6)[:, 0] for steps in (1, 2, 4)]
        for less, more in pairwise(errors):
            assert (more <= less * (1 + 1e-9)).all()
        if "season_amplitude" not in knobs:
            assert (np.diff(errors[-1]) >= -1e-9).all()


def test_a_bound_where_the_exact_one_is_too_large() -> None:
    field = made(**{**SIZE, "steps": 400}, land_fraction=0.4, velocity_x=1.0, forcing_slope=0.5)
    exact, bound = field.optimum(4), Filtered(field, 4)
    assert isinstance(exact, Conditioned)
    assert not bound.exact
    assert bound.about.startswith("a bound")
    assert (bound.squared_error(0, 3) < exact.squared_error(0, 3)).all()
    starts, contexts, truth = windows(field, 4, 3, 8)
    said = forecasts(bound, starts, contexts, 3)
    np.testing.assert_array_equal(np.isnan(said), np.isnan(truth))
    errors = by_window(said, truth)
    np.testing.assert_allclose(errors.mean(0), bound.squared_error(0, 3)[:, 0], rtol=0.15)
    large = made(height=40, width=60, land_fraction=0.4)
    assert isinstance(large.optimum(10), Filtered)
    assert not large.optimum(10).exact


def test_filter_and_conditioning_agree_where_nothing_is_hidden() -> None:
    field = made(height=4, width=5, velocity_x=0.7, forcing_memory_steps=2.0, variance_drift_per_step=0.01)
    one, other = Filtered(field, 3), Conditioned(field, 3)
    context = field.read(7, 10)
    np.testing.assert_allclose(one.forecast(context, 7, 4), other.forecast(context, 7, 4), atol=1e-4)
    np.testing.assert_allclose(one.squared_error(7, 4), other.squared_error(7, 4), rtol=1e-7)
