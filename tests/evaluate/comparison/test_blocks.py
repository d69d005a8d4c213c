"""Blocks, the variance of a mean and its correction: against plain loops, enumeration and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.evaluate.comparison.blocks import (
    _variance_of_mean,
    correlation,
    correlation_time,
    mean_variance,
    resampled_counts,
    windows_of_block,
)
from tests.evaluate.comparison.made_up import autoregression


@given(st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True), st.integers(1, 15))
@settings(max_examples=50)
def test_a_block_is_the_most_windows_that_share_steps(starts: list[int], steps: int) -> None:
    most = max(sum(one <= other < one + steps for other in starts) for one in starts)
    assert windows_of_block(starts, steps) == most


def test_blocks_of_regular_starts() -> None:
    assert windows_of_block(range(30), 6) == 6
    assert windows_of_block(range(0, 60, 2), 6) == 3
    assert windows_of_block(range(0, 60, 2), 7) == 4
    assert windows_of_block(range(0, 60, 6), 6) == 1


@pytest.mark.parametrize(("count", "length"), [(6, 3), (6, 2), (4, 1), (8, 4)])
def test_the_variance_is_that_of_all_possible_resamples(count: int, length: int) -> None:
    series = np.random.default_rng(count).normal(size=count)
    means = []
    for firsts in itertools.product(range(count), repeat=count // length):
        drawn = [series[(first + offset) % count] for first in firsts for offset in range(length)]
        means.append(np.mean(drawn))
    # Without correlation the factor for few blocks is b / (b - 1), and what is left is the bootstrap's own variance.
    blocks = count / length
    assert mean_variance(series, length) == pytest.approx(np.var(means) * blocks / (blocks - 1))


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_the_variance_of_the_mean_of_an_autoregression_in_closed_form(phi: float, count: int) -> None:
    matrix = phi ** np.abs(np.subtract.outer(np.arange(count), np.arange(count)), dtype=np.float64)
    assert _variance_of_mean(phi, count) == pytest.approx(matrix.sum() / count**2)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_the_corrected_variance_is_right_on_average(phi: float) -> None:
    count, length, many = 60, 6, 4000
    series = autoregression(np.random.default_rng(0), phi, (many, count))
    found = mean_variance(series, length, phi)
    true = _variance_of_mean(phi, count)
    error = found.std() / np.sqrt(many)
    # Blocks that go round the end join what is far apart, which is worth some per cent at most.
    assert found.mean() == pytest.approx(true, abs=4 * error + 0.06 * true)
    assert series.mean(axis=1).var() == pytest.approx(true, rel=0.1)
    if phi == 0.8:
        assert mean_variance(series, length).mean() < 0.75 * true, "blocks alone are too short, which is why it is done"


def test_the_correlation_of_neighbours() -> None:
    rng = np.random.default_rng(1)
    for phi in (0.0, 0.6, 0.8):
        found = [correlation(autoregression(rng, phi, (60,))) for _ in range(300)]
        assert np.mean(found) == pytest.approx(phi, abs=0.07)
    assert correlation(np.ones(30)) == 0.0
    assert correlation(np.array([1.0, -1.0] * 15)) == 0.0, "a negative one counts as none"
    assert correlation(np.arange(30.0)) == 0.95
    assert correlation_time(0.0) == 1.0
    assert correlation_time(0.5) == pytest.approx(3.0)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_resamples_are_of_whole_blocks(count: int, length: int, seed: int) -> None:
    counts = resampled_counts(count, length, 5, np.random.default_rng(seed))
    assert counts.shape == (5, count)
    np.testing.assert_array_equal(counts.sum(axis=1), count)
    if count % length == 0:
        # Each block is a run on the ring, so the counts change at most at two places for each of them.
        changes = (counts != np.roll(counts, 1, axis=1)).sum(axis=1)
        assert (changes <= 2 * count / length).all()
