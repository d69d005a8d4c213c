"""Kernels in whole numbers, rounded so that the errors of their places cancel: by NumPy alone."""

from __future__ import annotations

import numpy as np
import pytest

from stkit.cells.compiled.compiler import ORDERS, shares
from stkit.cells.tiles import OUTPUT, SIDES, maps


@pytest.mark.parametrize("side", SIDES)
def test_they_make_squares_of_what_is_left(side: int) -> None:
    back, _, forth = maps(OUTPUT, side)
    whole = shares(back, forth) + np.eye(len(forth))
    order = list(ORDERS[len(forth)])
    square = ((back.T @ back) * (forth @ forth.T))[np.ix_(order, order)]
    rest = np.linalg.inv(whole).T @ square @ np.linalg.inv(whole)
    assert np.array_equal(whole, np.tril(whole))
    np.testing.assert_allclose(rest, np.diag(np.diag(rest)), atol=1e-12 * np.abs(square).max())
    assert np.diag(rest).min() > 0


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("turned", [False, True])
def test_less_is_left_of_an_error(side: int, turned: bool) -> None:
    """In one dimension, on random kernels and fields: of a result, and of a field's gradient by the transposes."""
    rng = np.random.default_rng(0)
    back, kernel, forth = maps(OUTPUT, side)
    share, order = shares(back, forth), list(ORDERS[len(forth)])
    exact = kernel @ rng.standard_normal((side, 5000))
    unit = np.abs(exact).max(axis=1, keepdims=True) / 100
    alone, together = unit * np.round(exact / unit), np.empty_like(exact)
    for n, place in enumerate(order):
        before = order[:n]
        taken_back = share[n, :n] @ (together - exact)[before]
        together[place] = unit[place] * np.round((exact[place] - taken_back) / unit[place])
    first, last = (back.T, forth.T) if turned else (forth, back)
    given = first @ rng.standard_normal((first.shape[1], 5000))

    def size(found: np.ndarray) -> float:
        return float(np.sqrt(np.mean((last @ (given * (found - exact))) ** 2)))

    assert size(together) < {3: 0.85, 5: 0.7}[side] * size(alone)


@pytest.mark.parametrize("side", SIDES)
def test_but_for_the_first_and_the_last_points_come_in_pairs_of_opposite_sign(side: int) -> None:
    """On which the compiled map of kernels relies."""
    _, kernel, _ = maps(OUTPUT, side)
    signs = (-1.0) ** np.arange(side)
    assert np.array_equal(kernel[2:-1:2], kernel[1:-1:2] * signs)
