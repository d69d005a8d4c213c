"""Modules for non-stationary fields behind the data pipeline: physical units in, the same out, land and holes too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.data.prepare import PreparedData, from_source
from stkit.evaluate.baselines import Persistence
from stkit.recipe import from_dict
from stkit.run.load import TrainedForecaster
from stkit.stacks.build import build_forecaster
from stkit.train.losses import MSE
from stkit.train.objective import Objective, validation_terms
from tests.data.fields import config, source

from .nonstationary import KINDS, REACH, made, walk

transforms = st.fixed_dictionaries(
    {
        "log_offset": st.sampled_from([None, 30.0]),
        "anomaly": st.sampled_from(["none", "month", "day_of_year"]),
        "standardise": st.sampled_from(["none", "variable", "cell"]),
    }
)


@settings(max_examples=15)
@given(st.sampled_from(list(KINDS)), transforms)
def test_there_and_back_in_physical_units(kind: str, chosen: dict[str, Any]) -> None:
    """Through transforms and module and back both, in the test part, wherever there is a value and a level."""
    data = from_source(config(input_steps=4, horizon=3, transforms=chosen), source(channels=2), 0)
    raw = data.test.raw(0)
    frames, valid = (part[None] for part in data.pipeline.observe(raw.fields, raw.times))
    module = made(kind, 2, moved_by=1, dtype=torch.float32)
    seen = walk(module, frames[:, :4], valid[:, :4])
    after, memory = [*seen.before[1:], seen.memory], seen.memory
    levels = [(after if kind.startswith("norm") else seen.before)[t] for t in range(4)]
    back = [module.decode(seen.z[:, t], levels[t]) for t in range(4)]
    for t in range(4, 7):  # what follows the context goes in as forecasts do
        z, following = module.feed(frames[:, t], memory)
        back.append(module.decode(z, memory))
        memory = following
    physical = data.pipeline.inverse(torch.stack(back, 1)[0], raw.times)
    known = valid[0].clone()
    for t in range(4):
        known[t] &= valid[0, :t].sum(0) >= REACH[kind]
    assert known[4:].any()
    torch.testing.assert_close(physical[known], raw.fields[known], rtol=1e-4, atol=1e-3)
    assert physical[..., 0, :].isnan().all(), "land is masked again"


def untrained(model: dict[str, Any], **data: Any) -> tuple[TrainedForecaster, PreparedData]:
    """A forecaster whose head starts at zero, with the pipeline of a record."""
    recipe = from_dict(
        {
            "data": {"dataset": {"name": "sst_ostia"}, "input_steps": 4, "horizon": 3, **data},
            "model": {"name": "predrnn", "layers": [3], "patch": 2, "head": {"zero_init": True}, **model},
            "train": {"steps": 1, "loss": {"name": "mse"}, "sampling": {"name": "none"}},
        }
    ).recipe
    prepared = from_source(recipe.data, source(), 0)
    channels = prepared.state_channels
    forecaster = build_forecaster(
        recipe.model, in_channels=channels + prepared.known_channels, out_channels=channels, grid=prepared.grid
    )
    return TrainedForecaster(forecaster, prepared.pipeline, recipe, 0), prepared


def test_an_untrained_model_says_persistence_in_physical_units() -> None:
    """With and without a climatology in between, land and a value that is missing at the start included."""
    for chosen, change in (({}, 0.0), ({"standardise": "cell"}, 0.0), ({"anomaly": "month"}, 1.0)):
        model, data = untrained({"nonstationary": "differencing"}, transforms=chosen)
        raw = data.test.raw(1)
        context, times = raw.fields[:4].clone(), raw.times
        context[-1, 0, 2, 2] = torch.nan
        said = model(context, 3, times=times[:4], target_times=times[4:])
        expected = Persistence().forecast(context[None], times[None, :4], times[None, 4:])
        if change:  # what persists is the anomaly, and the season goes on
            normal = data.pipeline.inverse(torch.zeros_like(raw.fields), times)
            latest = torch.where(context[-1].isnan(), context[-2] - normal[2], context[-1] - normal[3])
            expected = (normal[4:] + latest)[None]
        sea = said.isfinite()
        assert sea.any()
        torch.testing.assert_close(said[sea], expected[sea], rtol=1e-5, atol=1e-4)
        assert torch.equal(sea, data.pipeline.valid.expand_as(sea))


@pytest.mark.parametrize("departure", ["persistence", "climatology", "damped_anomaly"])
def test_an_untrained_departure_is_the_baseline(departure: str) -> None:
    """From the first step on a model stands at the bar that it is compared with, in physical units."""
    model, data = untrained({}, departure_from=departure, transforms={"anomaly": "none", "standardise": "cell"})
    raw = data.test.raw(2)
    said = model(raw.fields[:4], 3, times=raw.times[:4], target_times=raw.times[4:])
    expected = data.baseline(departure).forecast(raw.fields[None, :4], raw.times[None, :4], raw.times[None, 4:])
    sea = data.pipeline.valid.expand_as(said) & expected.isfinite()
    torch.testing.assert_close(said[sea], expected[sea], rtol=1e-5, atol=1e-4)
    stream = model.warm(raw.fields[:4], raw.times[:4])
    torch.testing.assert_close(stream.forecast[sea[:, 0]], expected[:, 0][sea[:, 0]], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_validation_hand_on_where_there_are_values(kind: str) -> None:
    """What stands under land or a hole in a batch changes neither loss: no level and no scale saw it."""
    model, data = untrained({"nonstationary": KINDS[kind], "head": {"zero_init": False}}, input_steps=5)
    objective = Objective(model.forecaster, MSE(), 5)
    batch = data.stream(0, 4).batch(0)
    assert not batch["valid"].all()
    assert not batch["valid"][:, :, :, 1:].all(), "some sea is missing, too"
    hidden = torch.where(batch["valid"], batch["frames"], 40.0)
    tokens = torch.tensor(np.random.default_rng(0).random((4, 6)) < 0.5)
    for shown in (None, tokens):
        losses = [objective({**batch, "frames": frames}, shown)["mse"][0] for frames in (batch["frames"], hidden)]
        assert torch.equal(*losses)
    terms = [
        validation_terms(model.forecaster, MSE(), {**batch, "frames": frames}, 5)["mse"][0]
        for frames in (batch["frames"], hidden)
    ]
    assert torch.equal(*terms)
