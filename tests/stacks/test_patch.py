"""Folding patches into channels, and padding any field to whole patches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stkit.stacks import Patches, fold, unfold
from stkit.testing.strategies import seeds, tensor

patches = st.integers(1, 4)
sides = st.integers(1, 9)


@given(seed=seeds(), patch=patches, h=st.integers(1, 3), w=st.integers(1, 3), channels=st.integers(0, 3))
def test_unfold_undoes_fold(seed: int, patch: int, h: int, w: int, channels: int) -> None:
    fields = tensor(seed, 2, 3, channels, h * patch, w * patch)
    folded = fold(fields, patch)
    assert folded.shape == (2, 3, patch**2 * channels, h, w)
    assert torch.equal(unfold(folded, patch), fields)


@given(patch=patches, h=st.integers(1, 3), w=st.integers(1, 3), channels=st.integers(1, 3), data=st.data())
def test_the_channel_of_a_cell_in_its_patch(patch: int, h: int, w: int, channels: int, data: st.DataObject) -> None:
    fields = torch.arange(channels * h * patch * w * patch).float().reshape(channels, h * patch, w * patch)
    row, column = data.draw(st.integers(0, h * patch - 1)), data.draw(st.integers(0, w * patch - 1))
    channel = data.draw(st.integers(0, channels - 1))
    index = (row % patch * patch + column % patch) * channels + channel
    assert fold(fields, patch)[index, row // patch, column // patch] == fields[channel, row, column]


@given(seed=seeds(), patch=patches, height=sides, width=sides)
def test_any_grid_is_padded_with_zeros_and_cut_back(seed: int, patch: int, height: int, width: int) -> None:
    fields = tensor(seed, 2, 3, 2, height, width)
    whole = Patches(patch, height, width)
    folded = whole.fold(fields)
    assert folded.shape[-2:] == whole.grid
    assert torch.equal(whole.unfold(folded), fields)
    assert unfold(folded, patch).sum() == pytest.approx(fields.sum().item(), abs=1e-4)


def test_what_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="2 x 2 cells do not divide a grid of 3 x 4"):
        fold(torch.zeros(1, 3, 4), 2)
    with pytest.raises(ValueError, match="3 channels are no whole number of 2 x 2 patches"):
        unfold(torch.zeros(3, 2, 2), 2)
