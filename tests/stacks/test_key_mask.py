"""Land and missing cells are never attended to, wherever the valid mask comes from and however a model is run.

With kernels of one cell attention is the only way from cell to cell, so that what stands under the mask must not matter
to any forecast elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import stkit
from stkit.cells import KeyMask
from stkit.stacks import Forecaster
from stkit.testing.strategies import tensor

CONTEXT, HORIZON = 3, 2
FORMS: dict[str, dict[str, Any]] = {
    "self_attention": {"attention": {"h": "self_attention"}},
    "self_attention_memory": {"attention": {"h": {"name": "self_attention_memory", "kernel": 1}}},
    "windowed_attention": {"attention": {"c": {"name": "windowed_attention", "window": 3}}},
    "axial_attention": {"attention": {"m": "axial_attention", "x": "axial_attention"}},
    "attention inside mim": {
        "transition": {"name": "mim", "kernel": 1},
        "attention": {"d": "self_attention", "t": {"name": "self_attention_memory", "kernel": 1}},
    },
    "recall": {"transition": {"name": "recall", "tau": 2, "norm": None}},
    "recall of averages": {"transition": {"name": "recall", "tau": 2, "norm": None, "pool": 2}},
    "recall in regions": {"transition": {"name": "recall", "tau": 2, "norm": None, "region": 2}},
}


def build(form: str, patch: int = 1) -> Forecaster:
    torch.manual_seed(1)
    values = {"name": "predrnn", "layers": [4, 4], "cell": {"kernel": 1}, "patch": patch, **FORMS[form]}
    forecaster = stkit.build(**values, dtype=torch.float64)
    for parameter in forecaster.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return forecaster


def fields(patch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of two samples, other ones that differ where nothing is valid, and where that is: never a whole patch."""
    height, width = 5 * patch, 6 * patch
    frames = tensor(0, 2, CONTEXT + HORIZON, 1, height, width, dtype=torch.float64)
    patches = tensor(1, 2, 1, 1, height // patch, width // patch) > 0
    valid = patches.repeat_interleave(patch, 3).repeat_interleave(patch, 4)
    other = torch.where(valid, frames, frames + tensor(2, *frames.shape, dtype=torch.float64))
    return frames, other, valid.expand_as(frames)


def whole(model: Forecaster, frames: Tensor, valid: Tensor | None) -> Tensor:
    return model(frames[:, :CONTEXT], HORIZON, valid=None if valid is None else valid[:, :CONTEXT])


def training(model: Forecaster, frames: Tensor, valid: Tensor | None) -> Tensor:
    return model.rollout(frames, CONTEXT, valid=valid).predictions[:, -HORIZON:]


def stream(model: Forecaster, frames: Tensor, valid: Tensor | None) -> Tensor:
    state = model.warm(frames[:, :CONTEXT], valid=None if valid is None else valid[:, :CONTEXT])
    return torch.stack([state.forecast, model.step(None, state)[0]], dim=1)


RUNS: dict[str, Callable[[Forecaster, Tensor, Tensor | None], Tensor]] = {
    "forward": whole,
    "rollout": training,
    "stream": stream,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("run", RUNS)
def test_what_is_under_the_mask_changes_no_forecast_elsewhere(form: str, run: str) -> None:
    model, (frames, other, valid) = build(form), fields()
    sea = valid[:, -HORIZON:]
    expected = RUNS[run](model, frames, valid)
    torch.testing.assert_close(RUNS[run](model, other, valid)[sea], expected[sea])
    unmasked = [RUNS[run](model, each, None)[sea] for each in (frames, other)]
    assert not torch.allclose(*unmasked), "the test sees attention that looks at everything"


@pytest.mark.parametrize("form", FORMS)
def test_each_sample_of_a_batch_has_its_own_mask(form: str) -> None:
    """Crops of one field: a batch of two is each by itself."""
    model, (frames, _, valid) = build(form), fields()
    together = training(model, frames, valid)
    for sample in range(2):
        part = slice(sample, sample + 1)
        torch.testing.assert_close(training(model, frames[part], valid[part]), together[part])


@pytest.mark.parametrize("form", ["self_attention_memory", "recall"])
def test_a_patch_counts_if_any_of_its_cells_does(form: str) -> None:
    model, (frames, other, valid) = build(form, patch=2), fields(patch=2)
    sea = valid[:, -HORIZON:]
    partly = valid.clone()
    partly[..., ::2, ::2] = False  # a cell of every patch; the other three keep it
    expected = whole(model, frames, valid)
    torch.testing.assert_close(whole(model, frames, partly), expected)
    torch.testing.assert_close(whole(model, other, partly)[sea], expected[sea])


def test_a_cell_counts_once_it_has_had_a_value() -> None:
    """Missing in some frames of the context is not missing; of the frames after it nothing is known."""
    model, (frames, _, valid) = build("self_attention"), fields()
    expected = training(model, frames, valid)
    gaps = valid.clone()
    gaps[:, 1:] = False
    torch.testing.assert_close(training(model, frames, gaps), expected)
    later = valid.clone()
    later[:, CONTEXT:] = ~later[:, CONTEXT:]
    torch.testing.assert_close(training(model, frames, later), expected)
    assert not torch.allclose(training(model, frames, torch.ones_like(valid)), expected)


def test_a_stream_may_look_where_a_value_has_come() -> None:
    model, (frames, other, valid) = build("self_attention"), fields()
    state = model.warm(frames[:, :CONTEXT], valid=valid[:, :CONTEXT])
    frame, seen = frames[:, CONTEXT], valid[:, CONTEXT]
    kept, _ = model.step(frame, state, valid=seen)
    torch.testing.assert_close(model.step(other[:, CONTEXT], state, valid=seen)[0][seen], kept[seen])
    opened, after = model.step(frame, state, valid=torch.ones_like(seen))
    assert not torch.allclose(opened[seen], kept[seen])
    assert after.keys is not None
    assert after.keys.all()
    held, _ = model.step(frame, state)
    torch.testing.assert_close(held, kept)


def test_nothing_of_a_mask_is_left_behind() -> None:
    model, (frames, _, valid) = build("self_attention_memory"), fields()
    before = whole(model, frames, None)
    masked = whole(model, frames, valid)
    assert all(part.valid is None for part in model.modules() if isinstance(part, KeyMask))
    assert whole(model, frames, None).equal(before)
    assert whole(model, frames, valid).equal(masked)
    with pytest.raises(ValueError, match="expected the shape"):
        model(frames[:, :CONTEXT], 1, valid=valid)


def test_a_mask_without_holes_is_none() -> None:
    """So that fields without land cost nothing and keep their numbers."""
    model, (frames, _, valid) = build("recall"), fields()
    assert whole(model, frames, torch.ones_like(valid)).equal(whole(model, frames, None))
    assert model.warm(frames, valid=torch.ones_like(valid)).keys is None
