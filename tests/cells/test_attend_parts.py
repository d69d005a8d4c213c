"""Attention over keys in parts: the numbers and gradients of the sum written out, and each part kept once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stkit.cells import attend_parts
from stkit.cells.compiled import attention as by_unit
from stkit.testing._graph import capturing
from stkit.testing.strategies import tensor
from stkit.train.held import watch

F64 = torch.float64
needs_unit = pytest.mark.skipif(
    not by_unit.fits(torch.ones(1, 1, 1), []), reason="this machine has no matrix unit for numbers of 16 bits"
)


def by_the_sum(queries: Tensor, parts: Sequence[Tensor], allowed: Tensor | None) -> Tensor:
    """With the matrix of scores."""
    keys = torch.cat(parts, dim=1)
    scores = queries @ keys.mT
    if allowed is None:
        return scores.softmax(dim=2) @ keys
    some = allowed.any(dim=1)[:, None, None]
    scores = scores.masked_fill(~(allowed[:, None] | ~some), -torch.inf)
    return torch.where(some, scores.softmax(dim=2) @ keys, 0.0)


def drawn(seed: int, batch: int, queries: int, sizes: list[int], channels: int, dtype: torch.dtype = F64) -> Any:
    leaves = [tensor(seed, batch, queries, channels, dtype=dtype)]
    leaves += [tensor(seed + 1 + place, batch, size, channels, dtype=dtype) for place, size in enumerate(sizes)]
    return [leaf.requires_grad_() for leaf in leaves]


@settings(deadline=None, max_examples=80)
@given(
    batch=st.integers(1, 5),
    queries=st.integers(1, 9),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    channels=st.integers(1, 9),
    masked=st.booleans(),
    side=st.integers(0, 8),
    scores=st.integers(0, 99),
    seed=st.integers(0, 1000),
)
def test_numbers_and_gradients_are_those_of_the_sum(
    batch: int, queries: int, sizes: list[int], channels: int, masked: bool, side: int, scores: int, seed: int
) -> None:
    """Whatever the blocks, those of a processor, or as on a GPU those of float32 or none; a sample that may look at
    nothing finds nothing."""
    leaves = drawn(seed, batch, queries, sizes, channels)
    allowed = tensor(seed + 50, batch, sum(sizes)) > 0.3 if masked else None
    with pytest.MonkeyPatch.context() as patch:
        if side:
            patch.setattr(sys.modules[attend_parts.__module__], "SIDE", side)
        else:
            patch.setattr(sys.modules[attend_parts.__module__], "_in_blocks", lambda _: False)
            patch.setattr(sys.modules[attend_parts.__module__], "_by_products", lambda _: scores > 0)
            patch.setattr(sys.modules[attend_parts.__module__], "SCORES", scores)
        found = attend_parts(*leaves, allowed=allowed)
        expected = by_the_sum(leaves[0], leaves[1:], allowed)
        torch.testing.assert_close(found, expected)
        slope = tensor(seed + 51, *found.shape, dtype=F64)
        for ours, theirs in zip(*(torch.autograd.grad(y, leaves, slope) for y in (found, expected)), strict=True):
            torch.testing.assert_close(ours, theirs)
        with torch.no_grad():
            torch.testing.assert_close(attend_parts(*leaves, allowed=allowed), found)


@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck(masked: bool) -> None:
    leaves = drawn(3, 2, 4, [3, 2, 4], 3)
    allowed = tensor(5, 2, 9) > 0 if masked else None
    assert torch.autograd.gradcheck(lambda *leaves: attend_parts(*leaves, allowed=allowed), leaves)


def test_only_the_gradients_that_are_wanted() -> None:
    queries, first, second = drawn(0, 1, 4, [3, 3], 2)
    attend_parts(queries, first.detach(), second).sum().backward()
    assert queries.grad is not None
    assert second.grad is not None
    assert first.grad is None


@pytest.mark.parametrize("form", [pytest.param("unit", marks=needs_unit), "blocks", "gpu"])
@pytest.mark.parametrize("spread", [1.0, 40.0, 300.0])
def test_float32_is_as_exact_as_with_the_matrix_of_scores(
    spread: float, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nearly all weight lies on one key, and the others are next to nothing; also as on a GPU."""
    monkeypatch.setattr(sys.modules[attend_parts.__module__], "_in_blocks", lambda _: form != "gpu")
    if form != "unit":
        monkeypatch.setattr(by_unit, "fits", lambda *_: False)
    leaves = drawn(1, 2, 40, [30, 30], 16)
    with torch.no_grad():
        leaves[0].mul_(spread / 4)
    single = [leaf.detach().float().requires_grad_() for leaf in leaves]
    exact = by_the_sum(leaves[0], leaves[1:], None)
    slope = tensor(9, *exact.shape, dtype=F64)
    truth = [exact, *torch.autograd.grad(exact, leaves, slope)]
    errors = []
    for computed in (attend_parts, lambda queries, *parts: by_the_sum(queries, parts, None)):
        found = computed(*single)
        numbers = [found, *torch.autograd.grad(found, single, slope.float())]
        errors.append([float((a - b).detach().abs().max()) for a, b in zip(numbers, truth, strict=True)])
    assert all(ours <= 4 * theirs + 1e-9 for ours, theirs in zip(*errors, strict=True)), errors


@needs_unit
@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3),
    queries=st.integers(1, 70),
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=3),
    channels=st.integers(1, 70),
    masked=st.booleans(),
    wanted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_by_the_matrix_unit_it_is_as_exact_as_plain_float32(
    batch: int, queries: int, sizes: list[int], channels: int, masked: bool, wanted: bool, seed: int
) -> None:
    """Whatever does not fill its panels and blocks."""
    leaves = drawn(seed, batch, queries, sizes, channels)
    single = [leaf.detach().float().requires_grad_() for leaf in leaves]
    allowed = tensor(seed + 50, batch, sum(sizes)) > 0.3 if masked else None
    slope = tensor(seed + 51, batch, queries, channels, dtype=F64)
    exact = by_the_sum(leaves[0], leaves[1:], allowed)
    truth = [exact, *torch.autograd.grad(exact, leaves[wanted:], slope)]
    plain = by_the_sum(single[0], single[1:], allowed)
    expected = [plain, *torch.autograd.grad(plain, single[wanted:], slope.float())]
    assert by_unit.fits(single[0], single[1:])
    found = attend_parts(*single, allowed=allowed)
    ours = [found, *torch.autograd.grad(found, single[wanted:], slope.float())]
    size = max(float(true.detach().abs().max()) for true in truth)
    for one, other, true in zip(ours, expected, truth, strict=True):
        errors = [float((made - true).detach().abs().max()) for made in (one, other)]
        assert errors[0] <= 4 * errors[1] + 1e-6 * size, errors


@needs_unit
def test_the_matrix_unit_goes_through_long_parts_on_any_number_of_threads() -> None:
    """Parts of more keys than lie in panels together."""
    leaves = drawn(7, 2, 40, [600, 1, 513], 33)
    single = [leaf.detach().float().requires_grad_() for leaf in leaves]
    exact = by_the_sum(leaves[0], leaves[1:], None)
    truth = [exact, *torch.autograd.grad(exact.sum(), leaves)]
    threads = torch.get_num_threads()
    try:
        for some in (1, 2, 3):
            torch.set_num_threads(some)
            found = attend_parts(*single)
            numbers = [found, *torch.autograd.grad(found.sum(), single)]
            for ours, theirs in zip(numbers, truth, strict=True):
                torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)
    finally:
        torch.set_num_threads(threads)


@needs_unit
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so_by_the_matrix_unit(number: float) -> None:
    """A query finds no number, the others find theirs; a key that is none leaves nothing."""
    queries, *parts = (leaf.detach().float() for leaf in drawn(8, 1, 40, [50, 40], 20))
    good = attend_parts(queries, *parts)
    queries[0, 3, 2] = number
    found = attend_parts(queries, *parts)
    assert found[0, 3].isnan().all()
    assert found[:, 4:].equal(good[:, 4:])
    parts[1][0, 7] = torch.nan
    assert attend_parts(queries, *parts).isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    half = [leaf.detach().requires_grad_() for leaf in drawn(2, 1, 6, [5, 5], 8, dtype)]
    single = [leaf.detach().float().requires_grad_() for leaf in half]
    found, expected = attend_parts(*half), attend_parts(*single)
    assert found.dtype == dtype
    assert found.equal(expected.to(dtype))
    found.sum().backward()
    assert all(leaf.grad is not None and leaf.grad.dtype == dtype for leaf in half)


def test_a_part_is_kept_once_however_often_it_is_looked_at() -> None:
    """Twelve looks at twelve parts keep queries and what was found beside the parts, not all keys side by side."""
    parts = [torch.rand(1, 256, 16, requires_grad=True) for _ in range(12)]
    gates = [torch.rand(1, 16, 16, requires_grad=True) for _ in range(12)]
    with watch(torch.device("cpu")) as held:
        kept = [attend_parts(gate.sigmoid(), *parts) for gate in gates]
        assert kept
        keys = 4 * 12 * 256 * 16
        assert held.reading()[1] < keys / 2


def test_what_is_traced_is_torchs_own() -> None:
    queries, *parts = (leaf.detach() for leaf in drawn(4, 2, 5, [3, 4], 3))
    with capturing():
        compiled = torch.compile(attend_parts, backend="eager", fullgraph=True)(queries, *parts)
    torch.testing.assert_close(compiled, attend_parts(queries, *parts))
    meta = attend_parts(queries.to("meta"), *(part.to("meta") for part in parts))
    assert meta.shape == queries.shape
