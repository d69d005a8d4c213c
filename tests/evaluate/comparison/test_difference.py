"""Paired differences: what they are, what their intervals cover, and what they find."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.evaluate.comparison.difference import LEVEL, _variance, paired
from stkit.evaluate.comparison.sample import Sample
from tests.evaluate.comparison.made_up import autoregression

BLOCK = 6
"""Windows of 4 input and 2 output steps, one step apart."""


def sample(losses: np.ndarray, weight: np.ndarray | None = None) -> Sample:
    """From losses ``S T`` of one lead time."""
    return Sample.of(losses[..., None], np.ones((losses.shape[1], 1)) if weight is None else weight[:, None])


def alike(
    rng: np.random.Generator, *, windows: int, phi: float, seeds: int, between: float, shared: float
) -> tuple[Sample, Sample]:
    """Two recipes with the same expected loss.

    The weather makes windows hard for both; each recipe has windows that suit it (``shared`` by its seeds), each seed a
    level of its own (``between``) and windows that suit it.
    """
    weather = 5 + 2 * autoregression(rng, 0.8, (windows,))
    both = []
    for _ in range(2):
        own = shared * autoregression(rng, phi, (windows,)) / math.sqrt(2)
        level = between * rng.normal(size=(seeds, 1))
        both.append(sample(weather + own + level + autoregression(rng, phi, (seeds, windows))))
    return both[0], both[1]


@pytest.mark.parametrize(
    "said",
    [
        {"windows": 60, "phi": 0.5, "seeds": 3, "between": 0.3, "shared": 0.7},
        {"windows": 60, "phi": 0.5, "seeds": 3, "between": 0.0, "shared": 1.4},
        {"windows": 120, "phi": 0.7, "seeds": 1, "between": 0.0, "shared": 0.0},
        {"windows": 40, "phi": 0.3, "seeds": 5, "between": 1.0, "shared": 0.5},
    ],
    ids=lambda said: " ".join(f"{name}={value}" for name, value in said.items()),
)
def test_what_is_equal_is_not_distinguishable_in_95_of_100(said: dict) -> None:
    rng, many = np.random.default_rng(7), 300
    found = [paired(*alike(rng, **said), BLOCK, resamples=399).overall for _ in range(many)]
    same = sum(one.p is None or one.p > LEVEL for one in found)
    # The share of 300 draws at 95 % has a standard deviation of 1.26 %; three of them to either side.
    tolerance = 3 * math.sqrt(many * LEVEL * (1 - LEVEL))
    assert same == pytest.approx((1 - LEVEL) * many, abs=tolerance)
    assert sum(one.p is None for one in found) < 0.02 * many, "hardly any is refused"


def test_three_seeds_that_differ_much_are_not_taken_for_certain() -> None:
    """What resampling three seeds alone would get wrong: its interval covers the truth in 4 of 5 cases only."""
    rng, many = np.random.default_rng(8), 300
    pairs = [alike(rng, windows=60, phi=0.0, seeds=3, between=2.0, shared=0.0) for _ in range(many)]
    same = sum(paired(*pair, BLOCK, resamples=399).overall.p > LEVEL for pair in pairs)
    assert same >= 0.95 * many - 3 * math.sqrt(many * LEVEL * (1 - LEVEL))
    naive = 0
    for first, second in pairs:
        scores = [np.mean(rng.choice(one.means[:, 0], (200, 3)), axis=1) for one in (first, second)]
        low, high = np.percentile(scores[0] - scores[1], [2.5, 97.5])
        naive += low <= 0 <= high
    assert naive < 0.9 * many


def test_a_difference_that_is_there_is_found() -> None:
    rng = np.random.default_rng(9)
    words = []
    for _ in range(60):
        first, second = alike(rng, windows=120, phi=0.5, seeds=3, between=0.1, shared=0.3)
        better = Sample(
            np.stack([first.statistics[:, 0] - 0.8 * first.statistics[:, 1], first.statistics[:, 1]], axis=1)
        )
        words.append(paired(better, second, BLOCK, resamples=399).overall)
    assert sum(one.p <= LEVEL and one.difference < 0 for one in words) >= 0.9 * len(words)
    assert all(one.p > LEVEL or one.difference < 0 for one in words), "never on the wrong side"


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=15)
def test_interval_and_p_value_say_the_same(seed: int, ones: int, twos: int) -> None:
    rng = np.random.default_rng(seed)
    first = sample(rng.normal(5, 1, size=(ones, 50)) + rng.normal(scale=0.4))
    second = sample(rng.normal(5, 1, size=(twos, 50)))
    found, back = (paired(*pair, BLOCK, resamples=399).overall for pair in ((first, second), (second, first)))
    assert found.difference == pytest.approx(first.means.mean() - second.means.mean())
    assert found.low is not None
    assert found.high is not None
    assert found.p is not None
    assert (found.p <= LEVEL) == (not found.low <= 0 <= found.high)
    assert 0 < found.p <= 1
    assert found.difference == pytest.approx((found.low + found.high) / 2)
    assert back.difference == pytest.approx(-found.difference)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_what_is_the_same_for_both_does_not_count(seed: int) -> None:
    """Weather that is hard for all cancels; units scale; the order of the seeds is of no importance."""
    rng = np.random.default_rng(seed)
    one, two = rng.normal(5, 1, size=(2, 3, 40))
    weather = 3 * autoregression(rng, 0.9, (40,))
    plain = paired(sample(one), sample(two), BLOCK, resamples=199)
    harder = paired(sample(one + weather), sample(two + weather), BLOCK, resamples=199)
    scaled = paired(sample(100 * one), sample(100 * two), BLOCK, resamples=199)
    for name in ("difference", "low", "high", "p"):
        assert getattr(harder.overall, name) == pytest.approx(getattr(plain.overall, name), abs=1e-9)
        factor = 1 if name == "p" else 100
        assert getattr(scaled.overall, name) == pytest.approx(factor * getattr(plain.overall, name), abs=1e-7)
    turned = _variance(sample(one[::-1]), sample(two), 0, BLOCK, 0.2)
    assert turned == pytest.approx(_variance(sample(one), sample(two), 0, BLOCK, 0.2))


def test_a_forecast_against_itself() -> None:
    one = sample(np.random.default_rng(0).normal(5, 1, size=(2, 40)))
    found = paired(one, one, BLOCK).overall
    assert (found.difference, found.p) == (0.0, 1.0)
    alone = sample(one.statistics[:1, 0, :, 1])
    same = paired(alone, alone, BLOCK).overall
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_that_never_varies_is_certain() -> None:
    weather = np.random.default_rng(0).normal(5, 1, size=(1, 40))
    found = paired(sample(weather - 1), sample(weather), BLOCK, resamples=999).overall
    assert found.p == pytest.approx(0.001)
    assert found.high is not None
    assert found.high == pytest.approx(-1, abs=1e-6)


def test_fewer_than_five_blocks_rank_nothing() -> None:
    rng = np.random.default_rng(0)
    enough, short = (paired(*(sample(rng.normal(size=(3, count))) for _ in range(2)), BLOCK) for count in (30, 29))
    assert enough.ranked
    assert enough.overall.p is not None
    assert not short.ranked
    assert short.blocks == pytest.approx(29 / 6)
    assert (short.overall.low, short.overall.high, short.overall.p) == (None, None, None)
    assert all(lead.p is None for lead in short.by_lead)


def test_differences_that_stay_alike_make_longer_blocks() -> None:
    slow = autoregression(np.random.default_rng(0), 0.97, (1, 60))
    found = paired(sample(5 + slow), sample(np.full((1, 60), 5.0)), BLOCK)
    assert found.block > BLOCK
    assert found.correlation > 0.8
    assert not found.ranked, "what looks like 60 windows is worth fewer than five"
    sequences = paired(sample(5 + slow), sample(np.full((1, 60), 5.0)), 1, dependent=False)
    assert (sequences.block, sequences.correlation) == (1, 0.0)


def test_windows_count_by_their_weight() -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(0, 3, size=60).astype(float)
    one, two = rng.normal(5, 1, size=(2, 2, 60))
    found = paired(sample(one, weight), sample(two, weight), 1, dependent=False).overall
    pooled = [(weight * loss).sum() / (2 * weight.sum()) for loss in (one, two)]
    assert found.difference == pytest.approx(pooled[0] - pooled[1])
    assert found.second == pytest.approx(pooled[1])
    masked = np.where(weight > 0, one, np.nan)
    assert paired(sample(masked, weight), sample(two, weight), 1, dependent=False).overall == found


def test_all_lead_times_together_and_each_by_itself() -> None:
    rng = np.random.default_rng(4)
    one, two = rng.normal(5, 1, size=(2, 3, 60, 2))
    weight = np.ones((60, 2))
    found = paired(Sample.of(one, weight), Sample.of(two, weight), BLOCK)
    assert len(found.by_lead) == 2
    assert found.overall.difference == pytest.approx(np.mean([lead.difference for lead in found.by_lead]))
    never = paired(Sample.of(one, weight * [1, 0]), Sample.of(two, weight * [1, 0]), BLOCK)
    assert never.overall.difference == pytest.approx(never.by_lead[0].difference)
    assert math.isnan(never.by_lead[1].difference)
    assert never.by_lead[1].p is None
