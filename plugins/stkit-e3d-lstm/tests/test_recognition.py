"""Recognition beside prediction: what is asked, what it weighs, and that it trains."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from stkit_e3d_lstm.config import RecognitionConfig
from stkit_e3d_lstm.recognition import PredictionWeight, RecognitionLoss, directions
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import stkit
from stkit.plugin.manager import plugins
from stkit.stacks import Forecaster
from stkit.train.callbacks import CallbackContext
from stkit.train.losses import L1L2, LossSite


def built(**values: Any) -> RecognitionLoss:
    config = RecognitionConfig(name="recognition", **values)
    return RecognitionLoss.from_config(config, LossSite(1, (1, 4, 4)))


def small(*widths: int) -> Forecaster:
    return stkit.build(
        "e3d_lstm",
        layers=[{"width": 1, "cell": "frame_window"}, *(widths or (4, 4))],
        cell={"kernel": [2, 3, 3]},
        transition={"tau": 1, "region": 4},
    )


def training(loss: nn.Module, step: int = 0) -> CallbackContext:
    """What a callback sees of a training with this loss."""
    recipe: Any = None
    objective: Any = SimpleNamespace(loss=loss)
    return CallbackContext(recipe, Path(), objective, is_main=True, step=step)


def moving(down: int, right: int, steps: int = 4) -> Tensor:
    """A bright square that moves: ``1 T 1 12 12``."""
    frames = torch.zeros(1, steps, 1, 12, 12)
    for t in range(steps):
        top, left = 5 + down * t, 5 + right * t
        frames[0, t, 0, top : top + 2, left : left + 2] = 1
    return frames


@pytest.mark.parametrize("down", [-1, 1])
@pytest.mark.parametrize("right", [-1, 1])
def test_the_direction_is_read_from_the_frames(down: int, right: int) -> None:
    frames = moving(down, right)
    seen = torch.ones_like(frames, dtype=torch.bool)
    assert directions(frames, seen).tolist() == [[[down > 0, right > 0]] * 3]
    assert directions(frames.flip(1), seen).tolist() == [[[down < 0, right < 0]] * 3]
    assert directions(0.2 * frames - 3, seen).tolist() == [[[down > 0, right > 0]] * 3]
    there_and_back = torch.cat([frames[:, :2], frames[:, :1]], dim=1)
    assert directions(there_and_back, seen[:, :3]).tolist() == [[[down > 0, right > 0], [down < 0, right < 0]]]


def test_what_is_missing_is_not_seen() -> None:
    frames = moving(1, 1)
    frames[..., 0] = float("nan")
    assert directions(frames, ~frames.isnan()).tolist() == [[[1, 1]] * 3]
    nothing = torch.full((1, 3, 1, 4, 4), float("nan"))
    assert directions(nothing, ~nothing.isnan()).tolist() == [[[0, 0]] * 2]


def test_the_weight_of_the_prediction_falls_to_its_floor() -> None:
    loss = built(start=1.0, decrease_per_step=0.25, floor=0.3)
    told = []
    for step in (0, 1, 2, 3, 4, 1000):
        PredictionWeight().on_step(training(loss, step))
        told.append(loss.prediction_weight)
    assert told == [1.0, 0.75, 0.5, 0.3, 0.3, 0.3]


def test_a_graph_of_the_step_follows_the_weight() -> None:
    """What is recorded has Python values as they were; the weight must not be one."""
    torch.manual_seed(0)
    forecaster, loss = small(), built(decrease_per_step=0.25)
    frames = moving(1, 1)
    out = forecaster.rollout(frames, 2)
    target, valid = frames[:, 1:], torch.ones_like(frames[:, 1:], dtype=torch.bool)
    aux = [tuple({name: x.detach() for name, x in layer.items()} for layer in step) for step in out.aux]

    def terms(predictions: Tensor) -> list[Tensor]:
        return [total for total, _ in loss(predictions, target, valid, aux).values()]

    loss.at_step(0)
    recorded = make_fx(terms)(out.predictions.detach())
    loss.at_step(3)
    found, expected = recorded(out.predictions.detach()), terms(out.predictions.detach())
    assert [x.tolist() for x in found] == [x.tolist() for x in expected]


def test_the_terms() -> None:
    torch.manual_seed(0)
    forecaster, loss = small(), built(recognition_weight=2.0, l1_weight=0.25, l2_weight=3.0, start=0.5)
    frames = torch.cat([moving(1, 1), moving(-1, 1)])
    out = forecaster.rollout(frames, 2)
    target, valid = frames[:, 1:], torch.ones_like(frames[:, 1:], dtype=torch.bool)
    loss.at_step(0)
    terms = loss(out.predictions, target, valid, out.aux)
    plain = L1L2(0.25, 3.0)(out.predictions, target, valid, out.aux)
    for name in ("l1", "l2"):
        torch.testing.assert_close(terms[name][0], 0.5 * plain[name][0])
    # The first step predicts the second frame: what came before it is not among the targets.
    logits, truth = loss.recognise(out.aux)[:, 1:], torch.tensor([[[1.0, 1.0]] * 2, [[0.0, 1.0]] * 2])
    expected = -(truth * logits.sigmoid().log() + (1 - truth) * (1 - logits.sigmoid()).log()).mean((1, 2)).sum()
    torch.testing.assert_close(terms["recognition"][0], 2 * expected)
    assert {name: float(count) for name, (_, count) in terms.items()} == {
        name: float(count) for name, count in loss.counts(valid).items()
    }
    assert float(terms["recognition"][1]) == 2


def test_weights_are_chosen_by_the_prediction_alone() -> None:
    """Whatever the step: a validation loss that falls because a weight falls would choose the last weights."""
    forecaster, loss = small(), built().eval()
    frames = moving(1, 1)
    out = forecaster.rollout(frames, 2)
    target, valid = frames[:, 1:], torch.ones_like(frames[:, 1:], dtype=torch.bool)
    terms = loss(out.predictions, target, valid, out.aux)
    plain = L1L2()(out.predictions, target, valid, out.aux)
    assert terms.keys() == loss.counts(valid).keys() == plain.keys()
    for name, (value, _) in plain.items():
        torch.testing.assert_close(terms[name][0], value)


def test_it_learns_to_recognise() -> None:
    """The states and the classifier, trained together, tell the directions apart."""
    torch.manual_seed(0)
    forecaster, loss = small(8), RecognitionLoss(8)
    loss.at_step(0)
    frames = torch.cat([moving(down, right) for down in (-1, 1) for right in (-1, 1)])
    target, valid = frames[:, 1:], torch.ones_like(frames[:, 1:], dtype=torch.bool)
    optimiser = torch.optim.Adam([*forecaster.parameters(), *loss.parameters()], lr=3e-2)
    for _ in range(60):
        out = forecaster.rollout(frames, 3)
        terms = loss(out.predictions, target, valid, out.aux)
        optimiser.zero_grad()
        torch.stack([value / count for value, count in terms.values()]).sum().backward()
        optimiser.step()
    told = loss.recognise(forecaster.rollout(frames, 3).aux)[:, 1:] > 0
    assert told.equal(directions(target, valid).bool())


def test_a_loss_that_does_not_know_the_step_says_what_to_do() -> None:
    forecaster, frames = small(), moving(1, 1)
    out = forecaster.rollout(frames, 2)
    valid = torch.ones_like(frames[:, 1:], dtype=torch.bool)
    with pytest.raises(ValueError, match="put the callback 'prediction_weight' into"):
        built()(out.predictions, frames[:, 1:], valid, out.aux)


def test_other_losses_and_cells_are_told() -> None:
    with pytest.raises(ValueError, match="belongs to the loss 'recognition'"):
        PredictionWeight().on_start(training(L1L2()))
    with pytest.raises(ValueError, match="must be an e3d_lstm"):
        built().recognise([({},)])


def test_they_are_registered() -> None:
    assert plugins().resolve("losses", "recognition").load_target() is RecognitionLoss
    assert plugins().resolve("callbacks", "prediction_weight").load_target() is PredictionWeight
