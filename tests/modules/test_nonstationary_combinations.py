"""Any architecture, transition, attention and rollout beside any module for non-stationary fields."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import stkit
from stkit.errors import RecipeError
from stkit.testing import _drive as drive
from stkit.testing.strategies import seeds, tensor

from .nonstationary import F64, KINDS

LAYERS: dict[str, list[Any]] = {
    "convlstm": [4, 4],
    "predrnn": [4, 4],
    "predrnnpp": [4, {"width": 4, "cell": {"name": "ghu", "kernel": 3}}, 4],
    "e3d_lstm": [{"width": 1, "cell": "frame_window"}, 4],
    "mim": [4, 4],
    "mim_star": [4, 4],
}
TRANSITIONS = [None, "forget", {"name": "mim", "kernel": 3, "layers": "2.."}, "recall"]
ATTENTION = [{}, {"h": "self_attention_memory"}, {"x": "self_attention"}, {"c": "self_attention"}]
ROLLOUTS = ["next_frame", "encoder_forecaster"]


def combined(name: str, kind: str, transition: Any, attention: Any, rollout: str, seed: int) -> Any:
    """The forecaster, its weights moved by noise; or why it cannot be."""
    torch.manual_seed(seed)
    try:
        forecaster = stkit.build(
            name,
            layers=LAYERS[name],
            cell={"kernel": [2, 3, 3] if name == "e3d_lstm" else 3},
            rollout={"name": rollout},
            nonstationary=KINDS[kind],
            dtype=F64,
            **({} if transition is None else {"transition": transition}),
            **({"attention": attention} if attention else {}),
        )
    except RecipeError as refused:
        return refused
    drive.stir(forecaster, seed)
    return forecaster


@settings(max_examples=12)
@given(
    st.sampled_from(list(LAYERS)),
    st.sampled_from(list(KINDS)),
    st.sampled_from(TRANSITIONS),
    st.sampled_from(ATTENTION),
    st.sampled_from(ROLLOUTS),
    seeds(),
)
def test_what_builds_holds(name: str, kind: str, transition: Any, attention: Any, rollout: str, seed: int) -> None:
    """Shapes, the same twice, samples apart, no look ahead, stream and whole, a gradient for every parameter."""
    forecaster = combined(name, kind, transition, attention, rollout, seed)
    if isinstance(forecaster, RecipeError):
        # The reason is never the module, which goes with every network.
        assert "nonstationary" not in str(forecaster)
        assume(False)
    frames = tensor(seed, 2, 7, 1, 4, 5, dtype=F64)
    valid = tensor(seed + 1, 2, 7, 1, 4, 5) > -1
    context, seen = frames[:, :5], valid[:, :5]

    forecast = forecaster(context, 2, valid=seen)
    assert forecast.shape == (2, 2, 1, 4, 5)
    forecaster(tensor(seed + 2, 1, 3, 1, 6, 4, dtype=F64), 1)
    assert torch.equal(forecaster(context, 2, valid=seen), forecast)
    for sample in range(2):
        alone = forecaster(context[sample : sample + 1], 2, valid=seen[sample : sample + 1])
        assert drive.difference(alone, forecast[sample : sample + 1]) < drive.TOLERANCE

    out = forecaster.rollout(frames, 5, valid=valid)
    assert drive.difference(out.predictions[:, 5 - out.first :], forecast) < drive.TOLERANCE
    other = frames.clone()
    other[:, 5:] += 3
    assert torch.equal(forecaster.rollout(other, 5, valid=valid).predictions, out.predictions)
    if out.first == 1:
        shown = torch.ones(2, 5, dtype=torch.bool)
        other = frames.clone()
        other[:, 3:] += 3
        one, two = (forecaster.rollout(f, 5, tokens=shown).predictions for f in (frames, other))
        assert drive.difference(two[:, :3], one[:, :3]) < drive.TOLERANCE

    stream = forecaster.warm(context[:, :2])
    for t in range(2, 5):
        said, stream = forecaster.step(context[:, t], stream)
    whole = forecaster(context, 2)
    assert drive.difference(said, whole[:, 0]) < drive.TOLERANCE
    assert drive.difference(forecaster.step(None, stream)[0], whole[:, 1]) < drive.TOLERANCE

    assert drive.dead_parameters(forecaster, [forecaster.rollout(frames, 5).predictions], seed) == []
