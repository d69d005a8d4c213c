"""The balanced losses of HKO-7 against NumPy, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stkit.data.source import Variable
from stkit.errors import RecipeError
from stkit.plugin.manager import plugins
from stkit.recipe import from_dict
from stkit.train.balanced import BalancedLoss
from stkit.train.device import make_accelerator
from stkit.train.losses import LossSite
from stkit.train.losses_config import BalancedConfig
from stkit.train.setup import assemble, on_device

SHAPE = (3, 2, 1, 4, 5)
RATES = (0.0, 1.999, 2.0, 4.9, 5.0, 9.9, 10.0, 29.9, 30.0, 80.0)
CLASSES = (1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 10.0, 10.0, 30.0, 30.0)


def rain() -> LossSite:
    return LossSite(1, (4,), (Variable("rain_rate", "mm h-1"),))


def drawn(seed: int):
    generator = torch.Generator().manual_seed(seed)
    physical = 20 * torch.rand(SHAPE, generator=generator) ** 3
    target = torch.log1p(physical / 0.1)
    prediction = target + torch.randn(SHAPE, generator=generator)
    valid = torch.rand(SHAPE, generator=generator) > 0.3
    return prediction, target, valid, physical


def test_the_classes_of_the_paper() -> None:
    loss = BalancedLoss.from_config(BalancedConfig(name="balanced"), rain())
    assert loss.cell_weights(torch.tensor(RATES)).tolist() == list(CLASSES)


@given(seed=st.integers(0, 1000), l1=st.sampled_from([0.0, 0.5, 2.0]), l2=st.sampled_from([0.25, 1.0]))
@settings(max_examples=20)
def test_formula(seed: int, l1: float, l2: float) -> None:
    """Class by class in NumPy: the weighted errors of a class, summed over classes, over all valid cells."""
    prediction, target, valid, physical = drawn(seed)
    terms = BalancedLoss(l1_weight=l1, l2_weight=l2)(prediction, target, valid, (), physical=physical)
    p, t, r = (x[valid].double().numpy() for x in (prediction, target, physical))
    absolute = squared = 0.0
    for low, high, weight in ((0, 2, 1), (2, 5, 2), (5, 10, 5), (10, 30, 10), (30, np.inf, 30)):
        inside = (r >= low) & (r < high)
        absolute += weight * np.abs(p - t)[inside].sum()
        squared += weight * np.square(p - t)[inside].sum()
    means = {name: (total.double() / count).item() for name, (total, count) in terms.items()}
    expected = {"balanced_mae": l1 * absolute / r.size, "balanced_mse": l2 * squared / r.size}
    assert set(means) == {name for name, weight in (("balanced_mae", l1), ("balanced_mse", l2)) if weight}
    assert means == pytest.approx({name: expected[name] for name in means}, rel=1e-5)


def test_equal_weights_are_the_plain_errors() -> None:
    prediction, target, valid, physical = drawn(1)
    loss = plugins().resolve("losses", "l1_l2").load_target()(1.0, 1.0)
    plain = loss(prediction, target, valid, ())
    equal = BalancedLoss(weights=(1.0,) * 5)(prediction, target, valid, (), physical=physical)
    assert [total.item() for total, _ in equal.values()] == [total.item() for total, _ in plain.values()]


def test_any_split_of_the_batch_adds_up_and_counts_are_known_before() -> None:
    loss = BalancedLoss()
    prediction, target, valid, physical = drawn(2)
    whole = loss(prediction, target, valid, (), physical=physical)
    assert {name: count for name, (_, count) in whole.items()} == loss.counts(valid)
    for name, (total, count) in whole.items():
        parts = [
            loss(prediction[a:b], target[a:b], valid[a:b], (), physical=physical[a:b])[name]
            for a, b in ((0, 1), (1, 3))
        ]
        assert sum(part[1] for part in parts) == count
        assert torch.isclose(sum(part[0] for part in parts), total, rtol=1e-6)


def test_the_gradient_of_a_cell_is_that_of_the_plain_error_times_its_weight() -> None:
    prediction, target, valid, physical = drawn(3)
    physical = torch.where(valid, physical, torch.nan)
    target = torch.where(valid, target, torch.nan)
    prediction = prediction.clone().requires_grad_()
    loss = BalancedLoss(l1_weight=0.0)
    ((total, _),) = loss(prediction, target, valid, (), physical=physical).values()
    total.backward()
    expected = torch.where(valid, 2 * loss.cell_weights(physical) * (prediction - target).detach(), 0.0)
    assert torch.allclose(prediction.grad, expected)
    assert torch.isfinite(prediction.grad).all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"thresholds": [2, 5]}, "2 thresholds make 3 classes, and each needs a weight, but there are 5 weights"),
        ({"thresholds": [5, 2, 10, 30]}, "thresholds must increase, received 5, 2, 10, 30"),
        ({"thresholds": [2, 2, 10, 30]}, "thresholds must increase"),
        ({"thresholds": [], "weights": [1]}, "at least 1 item"),
        ({"thresholds": [2], "weights": [0, 0]}, "nothing would be learned"),
        ({"l1_weight": 0, "l2_weight": 0}, "nothing would be learned"),
        ({"weights": [1, 2, 5, 10, -30]}, "greater than or equal to 0"),
    ],
)
def test_bad_classes(values, said) -> None:
    with pytest.raises(ValidationError, match=said):
        BalancedConfig(name="balanced", **values)


@pytest.mark.parametrize(
    ("units", "said"),
    [("dBZ", "thresholds are in mm/h, but rain is in dBZ"), ("1", "rain has no units; give the variable its units")],
)
def test_a_field_in_other_units_is_refused(units: str, said: str) -> None:
    site = LossSite(1, (4,), (Variable("rain", units),))
    with pytest.raises(ValueError, match=said):
        BalancedLoss.from_config(BalancedConfig(name="balanced"), site)
    loss = BalancedLoss.from_config(BalancedConfig(name="balanced", units=units, weights=(1, 2, 5, 10, 40)), site)
    assert loss.weights[-1] == 40


@pytest.fixture
def radar(tmp_path):
    """``radar("mm h-1")``: a recipe on a file of rain in these units, with a hole, through two transforms."""

    def make(units: str):
        rng = np.random.default_rng(0)
        rate = rng.gamma(0.3, 8.0, (40, 12, 16)).astype("f4").round(1)
        rate[:, :3, :4] = np.nan
        times = np.datetime64("2020-01-01T00:00", "ns") + np.arange(40) * np.timedelta64(5, "m")
        path = tmp_path / "radar.nc"
        xr.Dataset({"rain_rate": (("time", "y", "x"), rate, {"units": units})}, {"time": times}).to_netcdf(path)
        values = {
            "data": {
                "dataset": {"name": "netcdf", "path": str(path)},
                "input_steps": 3,
                "horizon": 2,
                "transforms": {"log_offset": 0.1, "standardise": "cell"},
                "crop": {"height": 6, "width": 8},
            },
            "model": {"name": "convlstm", "layers": [4]},
            "train": {"steps": 2, "batch_size": 2, "loss": {"name": "balanced"}, "sampling": {"name": "none"}},
        }
        return from_dict(values, name="radar")

    return make


def test_the_classes_are_those_of_the_truth_in_the_file(radar) -> None:
    """Whatever transforms and crops stand between: the batch's own rates, to the last bit."""
    training = assemble(radar("mm h-1"), make_accelerator())
    batch = on_device(training.batches[0], torch.device("cpu"), training.objective.loss)
    stream = training.data.stream(0, 2)
    for sample, index, box in zip(batch["physical"], stream.indices(0), stream.boxes(0), strict=True):
        rows, columns = box.slices
        truth = training.data.train.raw(index).fields[..., rows, columns]
        assert torch.equal(sample, truth.nan_to_num(0.0))
    terms = training.objective(batch)
    assert set(terms) == {"balanced_mae", "balanced_mse"}
    assert all(torch.isfinite(total) for total, _ in terms.values())


def test_the_units_of_the_file_are_checked_before_anything_is_written(radar) -> None:
    with pytest.raises(RecipeError, match=r"train.loss: balanced: the thresholds are in mm/h, but rain_rate is in mm"):
        assemble(radar("mm"), make_accelerator())
