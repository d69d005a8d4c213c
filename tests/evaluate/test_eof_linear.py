"""The EOF-linear baseline against a linear inverse model in plain NumPy, and on fields whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stkit.data.record import Record
from stkit.data.source import ArraySource, Axis, Grid
from stkit.errors import DataError
from stkit.evaluate.baselines import Climatology, DampedAnomaly
from stkit.evaluate.eof_linear import CANDIDATES, EofLinear
from tests.data.fields import months, seasonal, with_land


def oscillation(steps: int, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    """Two patterns that turn into each other and fade, and a little noise; ``T 1 H W``, without a season."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(size=(2, 1, 6, 8))
    turn = 0.95 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    state, fields = np.array([1.0, 0.0]), []
    for _ in range(steps):
        state = turn @ state + 0.3 * rng.normal(size=2)
        fields.append(np.tensordot(state, patterns, 1) + noise * rng.normal(size=(1, 6, 8)))
    return np.array(fields, dtype=np.float32)


def by_hand(fields: np.ndarray, context: np.ndarray, modes: int, leads: int) -> np.ndarray:
    """A linear inverse model by singular vectors and least squares; what the EOFs leave out fades by one factor."""
    flat = fields.reshape(len(fields), -1).astype(np.float64)
    mean = flat.mean(0)
    anomaly = flat - mean
    vectors = np.linalg.svd(anomaly, full_matrices=False)[2][:modes]
    z = anomaly @ vectors.T
    law = np.linalg.lstsq(z[:-1], z[1:], rcond=None)[0].T
    rest = anomaly - z @ vectors
    rate = max((rest[1:] * rest[:-1]).sum() / (rest[:-1] ** 2).sum(), 0.0)
    now = context.reshape(-1) - mean
    amplitude = vectors @ now
    left = now - amplitude @ vectors
    said = [np.linalg.matrix_power(law, n) @ amplitude @ vectors + rate**n * left + mean for n in range(1, leads + 1)]
    return np.array(said).reshape(leads, *context.shape)


@pytest.mark.parametrize("modes", [1, 2, 5])
def test_it_is_the_linear_inverse_model_of_numpy(modes: int) -> None:
    fields = oscillation(120)
    baseline = EofLinear("mean", modes=modes).fit(fields)
    said = baseline.forecast(torch.from_numpy(fields[50:53])[None], None, 4)[0]
    np.testing.assert_allclose(said.numpy(), by_hand(fields, fields[52], modes, 4), atol=2e-4)


def test_it_finds_the_patterns_and_beats_a_damped_anomaly() -> None:
    fields = oscillation(600)
    train, test = fields[:400], torch.from_numpy(fields[400:])
    baseline = EofLinear("mean", horizon=4)
    baseline.fit(train)
    assert 2 <= len(baseline.law) <= 3
    turns = np.sort(np.abs(np.angle(np.linalg.eigvals(baseline.law.numpy())[:2])))
    assert turns[-1] == pytest.approx(0.5, abs=0.1)
    context = test[:190, None]
    truth = torch.stack([test[n : n + 190] for n in range(1, 5)], dim=1)
    errors = [
        (one.forecast(context, None, 4) - truth).square().mean((0, 2, 3, 4))
        for one in (baseline, DampedAnomaly("mean").fit(train), Climatology("mean").fit(train))
    ]
    assert (errors[0] < 0.7 * errors[1]).all()
    assert (errors[0] < 0.7 * errors[2]).all()


def test_with_no_pattern_it_is_the_damped_anomaly() -> None:
    fields = seasonal(60)[:, :, :, :]
    damped, none = DampedAnomaly("month").fit(fields, months(60)), EofLinear("month", modes=0).fit(fields, months(60))
    args = torch.from_numpy(fields[40:43])[None], months(60)[None, 40:43], months(60)[None, 43:44]
    torch.testing.assert_close(none.forecast(*args), damped.forecast(*args), rtol=1e-4, atol=1e-4)


def test_noise_has_no_pattern() -> None:
    fields = np.random.default_rng(0).normal(size=(200, 1, 5, 6)).astype(np.float32)
    baseline = EofLinear("mean", horizon=3)
    baseline.fit(fields)
    said = baseline.forecast(torch.from_numpy(fields[:1])[None], None, 3)
    assert said.abs().mean() < 0.25, "near the mean of the training part"


def test_the_number_of_patterns_comes_from_the_training_part_alone() -> None:
    fields = oscillation(100)
    chosen = [EofLinear("mean", horizon=3) for _ in range(2)]
    for one in chosen:
        one.fit(fields)
    torch.testing.assert_close(chosen[0].law, chosen[1].law, rtol=0, atol=0)
    assert len(chosen[0].law) in CANDIDATES


def test_land_gaps_and_several_variables() -> None:
    fields = with_land(seasonal(72, channels=2))
    fields[:, 1] *= 1000
    grid = Grid(4, 5, Axis("lat", np.array([-60.0, -20, 20, 70]), "degrees_north", "latitude"))
    source = ArraySource(fields, months(72), grid=grid)
    record = Record.of(fields, months(72))
    assert record.latitude is None
    from stkit.data.record import SpanRecord

    baseline = EofLinear(horizon=2).fit(SpanRecord(source, 0, 60))
    context = torch.from_numpy(fields[60:66])
    said = baseline.forecast(context[None], months(72)[None, 60:66], months(72)[None, 66:68])[0]
    assert said[..., 0, :].isnan().all(), "land"
    assert said[..., 1:, :].isfinite().all()
    assert "EOF" in baseline.about


def test_sequences_without_a_calendar_do_not_join() -> None:
    from stkit.data.record import Piece

    class Apart(Record):
        shape = (1, 6, 8)
        times = None

        def __iter__(self):
            for seed in range(8):
                yield Piece(torch.from_numpy(oscillation(20, 0 * seed + seed)), None, False)

    baseline = EofLinear("mean", modes=2).fit(Apart())
    whole = np.concatenate([oscillation(20, seed) for seed in range(8)])
    joined = EofLinear("mean", modes=2).fit(whole)
    assert not torch.allclose(baseline.law.abs(), joined.law.abs(), atol=1e-3)


def test_what_it_refuses() -> None:
    from stkit.data.box import Box

    with pytest.raises(DataError, match="eof_linear has not been fitted"):
        _ = EofLinear().law
    fitted = EofLinear("mean", modes=1).fit(oscillation(20))
    with pytest.raises(DataError, match="of the whole grid"):
        fitted.forecast(torch.zeros(1, 2, 1, 2, 2), None, 1, Box(0, 0, 2, 2))


def test_a_record_that_is_too_short_to_choose_has_no_pattern() -> None:
    fields = seasonal(13)
    baseline = EofLinear("month", horizon=2)
    baseline.fit(fields, months(13))
    assert len(baseline.law) == 0
