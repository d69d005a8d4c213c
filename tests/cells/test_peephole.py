"""Peepholes: per channel, per pixel, none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stkit.cells import build_peephole
from stkit.cells import peephole as peepholes
from stkit.cells.compiled import gates
from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.testing.strategies import grids, seeds, tensor


def test_per_channel_fits_any_grid() -> None:
    peephole = build_peephole("channel", 3, None, dtype=torch.float64)
    torch.nn.init.normal_(peephole.weight)
    for grid in ((4, 5), (1, 7)):
        gate, c = torch.randn(2, 3, *grid, dtype=torch.float64), torch.randn(2, 3, *grid, dtype=torch.float64)
        weight = peephole.weight.reshape(1, 3, 1, 1)
        torch.testing.assert_close(peephole(gate, c), gate + weight * c, rtol=1e-14, atol=1e-14)


def test_per_pixel_belongs_to_one_grid() -> None:
    peephole = build_peephole("pixel", 3, (4, 5))
    assert tuple(peephole.weight.shape) == (3, 4, 5)
    with pytest.raises(ValueError, match="of a 4 x 5 grid were given 5 x 4"):
        peephole(torch.zeros(1, 3, 5, 4), torch.zeros(1, 3, 5, 4))
    with pytest.raises(ValueError, match="need to know the grid"):
        build_peephole("pixel", 3, None)


def test_none_leaves_the_gate_alone() -> None:
    peephole = build_peephole("none", 3, None)
    gate = torch.randn(2, 3, 4, 5)
    assert peephole(gate, torch.randn(2, 3, 4, 5)) is gate
    assert not list(peephole.parameters())


@pytest.mark.skipif(isinstance(library(), NoCompiler), reason=str(library()))
@settings(max_examples=40)
@given(
    seed=seeds(),
    kind=st.sampled_from(["channel", "pixel"]),
    batch=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 16, 20]),
    grid=grids(1, 7),
    last=st.booleans(),
    other_order=st.booleans(),
)
def test_compiled_it_is_the_same(
    seed: int, kind: str, batch: int, channels: int, grid: tuple[int, int], last: bool, other_order: bool
) -> None:
    peephole = build_peephole(kind, channels, grid)
    torch.nn.init.normal_(peephole.weight)
    layout = torch.channels_last if last else torch.contiguous_format
    gate, c, slope = (tensor(seed + n, batch, channels, *grid).contiguous(memory_format=layout) for n in range(3))
    if other_order:  # as a gradient may come
        slope = slope.transpose(2, 3).contiguous().transpose(2, 3)
    found, calls = [], 0

    def counted(*given: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return original(*given)

    original = gates.peephole
    for size, kept in ((0, torch.float32), (10**9, torch.float64)):
        own = build_peephole(kind, channels, grid, dtype=kept)
        own.load_state_dict(peephole.state_dict())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(peepholes, "SMALL", size)
            patch.setattr(gates, "peephole", counted)
            inputs = [part.detach().to(kept).requires_grad_() for part in (gate, c)]
            made = own(*inputs)
            with torch.no_grad():
                assert torch.equal(own(*inputs), made)
            made.backward(slope.to(kept))
        found.append([made, own.weight.grad, *(part.grad for part in inputs)])
    assert calls == (2 if last or kind == "pixel" else 0) or 1 in (channels, *grid)
    for one, exact in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), exact, rtol=1e-5, atol=1e-5)
