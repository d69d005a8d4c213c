"""Losses against NumPy, and their sums over any split of a batch."""

import numpy as np
import pytest
import torch

from stkit.plugin.manager import plugins
from stkit.train.losses import BCE, L1L2, MAE, MSE, LossSite, masked_sum
from stkit.train.losses_config import L1L2Config

SHAPE = (5, 3, 2, 4, 6)


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(1)
    prediction = torch.rand(SHAPE, generator=generator)
    target = torch.rand(SHAPE, generator=generator)
    valid = torch.rand(SHAPE, generator=generator) > 0.3
    return prediction, target, valid


def mean(loss, prediction, target, valid):
    return sum((s.double() / n).item() for s, n in loss(prediction, target, valid, ()).values())


def test_formulas(sample):
    prediction, target, valid = sample
    p, t = prediction[valid].double().numpy(), target[valid].double().numpy()
    squared, absolute = np.mean((p - t) ** 2), np.mean(np.abs(p - t))
    assert mean(MSE(), *sample) == pytest.approx(squared, rel=1e-6)
    assert mean(MAE(), *sample) == pytest.approx(absolute, rel=1e-6)
    assert mean(L1L2(0.5, 2.0), *sample) == pytest.approx(0.5 * absolute + 2 * squared, rel=1e-6)
    assert mean(BCE(), *sample) == pytest.approx(np.mean(-(t * np.log(p) + (1 - t) * np.log(1 - p))), rel=1e-6)


@pytest.mark.parametrize("loss", [MSE(), MAE(), L1L2(), BCE()], ids=lambda loss: type(loss).__name__)
def test_counts_are_known_before_the_model_runs(loss, sample):
    counts = loss.counts(sample[2])
    terms = loss(*sample, ())
    assert list(counts) == list(terms)
    assert all(torch.equal(counts[name], terms[name][1]) for name in counts)


@pytest.mark.parametrize("loss", [MSE(), MAE(), L1L2(), BCE()], ids=lambda loss: type(loss).__name__)
def test_any_split_of_the_batch_adds_up(loss, sample):
    whole = loss(*sample, ())
    for name, (total, count) in whole.items():
        parts = [loss(*(x[a:b] for x in sample), ())[name] for a, b in ((0, 1), (1, 4), (4, 5))]
        assert sum(p[1] for p in parts) == count
        assert torch.isclose(sum(p[0] for p in parts), total, rtol=1e-6)


def test_missing_cells_have_no_value_and_no_gradient(sample):
    prediction, target, valid = sample
    prediction = prediction.clone().requires_grad_()
    target = torch.where(valid, target, torch.nan)
    ((total, _),) = MSE()(prediction, target, valid, ()).values()
    total.backward()
    assert torch.isfinite(total)
    assert torch.equal(prediction.grad != 0, valid)


def test_cross_entropy_of_certain_probabilities_is_finite_under_mixed_precision():
    prediction = torch.tensor([0.0, 1.0, 1.0]).reshape(1, 1, 1, 1, 3)
    target = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 1, 1, 1, 3)
    with torch.autocast("cpu", torch.bfloat16):
        ((total, _),) = BCE()(prediction, target, torch.ones_like(target, dtype=torch.bool), ()).values()
    assert total.item() == pytest.approx(100.0)


def test_masked_sum_of_nothing_is_zero():
    assert masked_sum(torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("name", ["mse", "mae", "l1_l2", "bce"])
def test_registered(name):
    spec = plugins().resolve("losses", name)
    loss = spec.load_target().from_config(spec.load_config()(name=name), LossSite(1, (4,)))
    assert not list(loss.parameters())


def test_weights_come_from_the_recipe():
    loss = L1L2.from_config(L1L2Config(name="l1_l2", l1_weight=3, l2_weight=0.25), LossSite(1, (4,)))
    assert (loss.l1_weight, loss.l2_weight) == (3, 0.25)
