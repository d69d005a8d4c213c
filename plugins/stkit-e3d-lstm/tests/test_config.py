"""Every option changes something, and what does not fit is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import stkit
from stkit.errors import RecipeError

WINDOW = {"width": 1, "cell": "frame_window"}


def forecast(**values: Any) -> torch.Tensor:
    layers = values.pop("layers", [WINDOW, 3, 3])
    torch.manual_seed(0)
    forecaster = stkit.build("e3d_lstm", layers=layers, dtype=torch.float64, **values)
    torch.manual_seed(1)
    for parameter in forecaster.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    frames = torch.randn(1, 5, 1, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        result: torch.Tensor = forecaster(frames, 2)
    return result


@pytest.mark.parametrize(
    "values",
    [
        {"cell": {"kernel": [2, 3, 3]}},
        {"cell": {"bias": "gate"}},
        {"cell": {"bias": "none"}},
        {"cell": {"forget_bias": 0.0}},
        {"cell": {"norm": None}},
        {"cell": {"norm": {"name": "channel", "eps": 0.1}}},
        {"cell": {"update_memory": False}},
        {"cell": {"memory_transition": "plain"}},
        {"cell": {"output_gate": "sigmoid"}},
        {"transition": {"tau": 2}},
        {"transition": {"tau": None, "maximum": 3}},
        {"transition": {"start": True}},
        {"transition": {"norm": None}},
        {"transition": {"pool": 2}},
        {"transition": {"region": 2}},
        {"transition": "forget"},
        {"head": {"kernel": 3}},
        {"head": {"bias": False}},
        {"head": {"activation": "sigmoid"}},
        {"layers": [{"width": 1, "cell": {"name": "frame_window", "depth": 3}}, 3, 3],
         "cell": {"depth": 3}, "head": {"depth": 3}},
        {"variant": "paper"},
        {"variant": "official"},
    ],
    ids=str,
)  # fmt: skip
def test_each_option_changes_the_forecast(values: dict[str, Any]) -> None:
    assert not torch.allclose(forecast(**values), forecast(), atol=1e-6)


def test_maximum_is_room_for_all() -> None:
    all_of_them = forecast(transition={"tau": None})
    torch.testing.assert_close(forecast(transition={"tau": 6}), all_of_them)
    torch.testing.assert_close(forecast(transition={"tau": None, "maximum": 7}), all_of_them)


def test_a_head_may_start_at_zero() -> None:
    forecaster = stkit.build("e3d_lstm", layers=[WINDOW, 3], head={"zero_init": True})
    assert not forecaster(torch.randn(1, 2, 1, 4, 4), 1).any()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"transition": {"tau": 0}}, "model.transition.tau"),
        ({"transition": {"maximum": 0}}, "model.transition.maximum"),
        ({"transition": {"pool": 2, "region": 2}}, "two ways to save the same cost"),
        ({"layers": [WINDOW, 4, 3]}, "give the layers equal widths"),
        ({"rollout": {"name": "encoder_forecaster"}}, "a frame window needs frames"),
        ({"variant": "realease"}, "official"),
    ],
)
def test_what_does_not_fit_is_told(values: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        stkit.build("e3d_lstm", **values)
