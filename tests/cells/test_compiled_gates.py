"""Gate arithmetic in C against the same in float64: digits, slopes, odd sizes, and what it leaves alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stkit.cells import squash
from stkit.cells.compiled import gates
from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.cells.squash import COMPLEMENT, DOUBLE, IDENTITY, SIGMOID, TANH
from stkit.testing.strategies import seeds

pytestmark = pytest.mark.skipif(isinstance(library(), NoCompiler), reason=str(library()))
SQUASHES = (SIGMOID, TANH, DOUBLE, COMPLEMENT)


def apart(found: Tensor, exact: Tensor) -> float:
    """The largest error, in units of float32 in the last place, but of numbers below 1e-7 of 1 absolutely."""
    size = exact.abs().clamp_min(1e-37)
    return float(((found.double() - exact).abs() / (size * 2.0**-23)).max())


@pytest.mark.parametrize("function", [SIGMOID, TANH, DOUBLE])
def test_digits_of_every_size(function: int) -> None:
    """The logistic of what is far below zero keeps its digits, tanh of what is near zero too."""
    x = torch.cat([torch.linspace(-80, 80, 100001), torch.logspace(-30, 0, 10001), -torch.logspace(-30, 0, 10001)])
    field, one = x.view(1, 1, 1, -1), torch.ones(1, 1, 1, x.numel())
    found = gates.value(field, one, None, None, (function, IDENTITY, 0, 0), 0.0)
    exact = squash.value(field.double(), one.double(), None, None, (function, IDENTITY, 0, 0), 0.0)
    assert apart(found, exact) < 3


def test_the_ends_and_what_is_no_number() -> None:
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, 200.0, -200.0]).view(1, 1, 1, -1)
    one = torch.ones_like(x)
    found = {name: gates.value(x, one, None, None, (name, IDENTITY, 0, 0), 0.0).flatten() for name in (SIGMOID, TANH)}
    assert found[SIGMOID].isnan().tolist() == found[TANH].isnan().tolist() == [False, False, True, False, False, False]
    assert found[TANH][[0, 1, 3, 4, 5]].tolist() == [1.0, -1.0, 0.0, 1.0, -1.0]
    torch.testing.assert_close(
        found[SIGMOID][[0, 1, 3, 4, 5]], torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0]), rtol=0, atol=1e-37
    )


@given(
    seed=seeds(),
    pair=st.sampled_from(list(itertools.product(SQUASHES, (IDENTITY, TANH)))),
    second=st.sampled_from([None, "alone", (SIGMOID, TANH), (COMPLEMENT, IDENTITY), (DOUBLE, TANH)]),
    bias=st.sampled_from([0.0, 1.0]),
    shape=st.sampled_from([(1, 1, 1, 1), (2, 3, 1, 5), (1, 16, 2, 4), (2, 5, 3, 7)]),
    last=st.booleans(),
)
@settings(max_examples=40)
def test_values_and_slopes(
    seed: int, pair: tuple[int, int], second: object, bias: float, shape: tuple[int, ...], last: bool
) -> None:
    made = torch.Generator().manual_seed(seed)
    a, b, c, d, gradient = (torch.randn(shape, generator=made) for _ in range(5))
    if last:
        a, b, c, d, gradient = (part.contiguous(memory_format=torch.channels_last) for part in (a, b, c, d, gradient))
    functions = (*pair, *(second if isinstance(second, tuple) else (IDENTITY, 0)))
    third = None if second is None else c
    fourth = d if isinstance(second, tuple) else None
    assert gates.fits(gradient, a, b, third, fourth)
    wide = [None if part is None else part.double() for part in (a, b, third, fourth)]
    found = gates.value(a, b, third, fourth, functions, bias)
    torch.testing.assert_close(found.double(), squash.value(*wide, functions, bias), rtol=1e-6, atol=1e-6)
    assert found.stride() == a.stride()
    slopes = gates.gradients(gradient, a, b, third, fourth, functions, bias)
    for ours, theirs in zip(slopes, squash.gradients(gradient.double(), *wide, functions, bias), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-6)


def test_what_it_leaves_to_torch() -> None:
    x = torch.zeros(2, 3, 4, 5)
    assert gates.fits(x, x, None)
    assert not gates.fits(x, x.double())
    assert not gates.fits(x.bfloat16(), x.bfloat16())
    assert not gates.fits(x, x.contiguous(memory_format=torch.channels_last)), "another order in memory"
    assert not gates.fits(x[..., ::2], x[..., ::2]), "not dense"
    assert not gates.fits(x.to("meta"), x.to("meta"))
