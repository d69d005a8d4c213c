"""Peepholes: per channel, per pixel, none."""

from __future__ import annotations

import pytest
import torch

from stkit.cells import build_peephole


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
