"""LPIPS, with a network that was never trained: its trained one would have to be downloaded."""

from __future__ import annotations

from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import learned_perceptual_image_patch_similarity, lpips

from stkit.errors import UsageError
from stkit.evaluate.image_metrics import PerceptualSimilarity
from stkit.evaluate.metric import Comparison


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    original = lpips._get_tv_model_features

    def same_each_time(net: str, pretrained: bool = False) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made: nn.Module = original(net, pretrained=False)
            return made

    monkeypatch.setattr(lpips, "_get_tv_model_features", same_each_time)


def comparison(forecast: np.ndarray, truth: np.ndarray, counted: Any = True) -> Comparison:
    height, width = truth.shape[-2:]
    weights = np.ones((height, width))
    return Comparison(forecast, truth, np.broadcast_to(np.asarray(counted), truth.shape), weights)


@pytest.mark.usefixtures("untrained")
def test_each_frame_has_the_distance_that_torchmetrics_gives_it() -> None:
    rng = np.random.default_rng(0)
    truth, forecast = rng.random((2, 2, 1, 32, 40)), rng.normal(0.5, 0.5, (2, 2, 1, 32, 40))
    found = PerceptualSimilarity().sums(comparison(forecast, truth))

    def grey(frame: np.ndarray) -> Tensor:
        return torch.from_numpy(frame).float().clamp(0, 1).expand(1, 3, -1, -1)

    for window in range(2):
        for lead in range(2):
            pair = grey(forecast[window, lead]), grey(truth[window, lead])
            expected = learned_perceptual_image_patch_similarity(*pair, net_type="alex", normalize=True)
            assert found[window, 0, lead, 0] == pytest.approx(float(expected.detach()), rel=1e-4)
    assert (found[:, 0] > 0).all()
    assert (found[:, 1] == 1).all()


@pytest.mark.usefixtures("untrained")
def test_a_perfect_forecast_has_none_and_incomplete_frames_do_not_count() -> None:
    truth = np.random.default_rng(1).random((2, 1, 1, 32, 32))
    metric = PerceptualSimilarity()
    assert metric.score(metric.sums(comparison(truth, truth)).sum(0)) == pytest.approx(0, abs=1e-6)
    counted = np.ones(truth.shape, dtype=bool)
    counted[0, 0, 0, 3, 4] = False
    assert metric.sums(comparison(truth, truth, counted))[:, 1, 0, 0].tolist() == [0, 1]


def test_weights_that_cannot_be_had_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(lpips, "_get_tv_model_features", offline)
    with pytest.raises(UsageError, match=r"lpips_alex needs the weights of AlexNet .* cannot be had: .*no route"):
        PerceptualSimilarity()
