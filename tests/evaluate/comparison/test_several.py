"""Holm's correction and the test of Diebold and Mariano against other ways to the same numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stkit.evaluate.comparison.diebold_mariano import diebold_mariano
from stkit.evaluate.comparison.holm import holm


@given(st.lists(st.floats(0, 1), max_size=6))
@settings(max_examples=60)
def test_holm_is_bonferroni_closed(p_values: list[float]) -> None:
    """By the closure principle: the adjusted value is the largest Bonferroni p-value of all sets that hold it."""
    found = holm(p_values)
    places = range(len(p_values))
    for place in places:
        sets = [
            chosen
            for size in range(1, len(p_values) + 1)
            for chosen in itertools.combinations(places, size)
            if place in chosen
        ]
        closed = max(min(1.0, len(chosen) * min(p_values[one] for one in chosen)) for chosen in sets)
        assert found[place] == pytest.approx(closed)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@given(st.integers(0, 2**32 - 1), st.integers(3, 40))
@settings(max_examples=25)
def test_without_overlap_it_is_the_t_test(seed: int, count: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, size=count)
    assert diebold_mariano(differences, 1) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


@pytest.mark.parametrize("overlap", [2, 3])
def test_with_overlap_it_is_the_formula(overlap: int) -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=42)
    differences = 0.4 + noise[2:] + noise[1:-1] + noise[:-2]
    count, mean = len(differences), sum(differences) / len(differences)
    variance = 0.0
    for lag in range(-overlap + 1, overlap):
        for first in range(count):
            if 0 <= first + lag < count:
                variance += (differences[first] - mean) * (differences[first + lag] - mean) / count
    statistic = mean / math.sqrt(variance / count)
    statistic *= math.sqrt((count + 1 - 2 * overlap + overlap * (overlap - 1) / count) / count)
    assert diebold_mariano(differences, overlap) == pytest.approx(2 * stats.t.sf(abs(statistic), count - 1))


def test_where_it_is_not_defined() -> None:
    assert diebold_mariano(np.zeros(10), 1) is None, "no variance"
    assert diebold_mariano(np.array([1.0, -1.0] * 10), 2) is None, "a variance below zero"
    assert diebold_mariano(np.ones(3), 3) is None, "too few starts"
