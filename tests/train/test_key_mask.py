"""The data's valid mask reaches attention in training, validation, evaluation and streams: nobody looks at land."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import stkit
from stkit.cells import observe
from stkit.data.prepare import prepare
from stkit.run.execute import execute
from stkit.stacks.build import build_forecaster
from stkit.train.losses import LossSite
from stkit.train.objective import Objective, validation_terms
from stkit.train.setup import build_component
from stkit.train.validation import collate

MODEL = {"name": "predrnn", "layers": [4, 4], "patch": 2, "attention": {"h": "self_attention_memory"}}


class Looks(observe.Observer):
    """Where anybody looks at all: the largest weight that any cell gives to each cell, of all attentions."""

    def __init__(self) -> None:
        self.largest = None

    def attention(self, module, attended):
        height, width = self.grid
        weights = attended.weights(torch.arange(height * width)).detach()  # B K S H W
        torch.testing.assert_close(weights.sum(dim=(2, 3, 4)), torch.ones(weights.shape[:2]))
        largest = weights.amax(dim=(1, 2))
        self.largest = largest if self.largest is None else torch.maximum(self.largest, largest)

    def during(self, run, grid):
        """``B h w``: whether any cell was looked at while ``run`` ran."""
        self.grid, self.largest = grid, None
        with observe.watch(self), torch.no_grad():
            run()
        return self.largest > 0


def expected(fields, patch=2):
    """``B h w`` from fields in physical units ``B T C H W``: patches with a value, cell by cell."""
    known = np.isfinite(fields).any(axis=(1, 2))
    batch, height, width = known.shape
    cells = [(b, y // patch, x // patch) for b, y, x in zip(*np.nonzero(known), strict=True)]
    out = np.zeros((batch, height // patch, width // patch), dtype=bool)
    out[tuple(zip(*cells, strict=True))] = True
    return torch.from_numpy(out)


@pytest.fixture
def crops(recipe):
    """Windows in crops of 6 x 4 cells, some with land and some without."""
    return recipe({"model": {**MODEL, "patch": 1}, "data.crop": {"height": 6, "width": 4}}).recipe


def parts(recipe):
    data = prepare(recipe.data, recipe.seed)
    channels = data.state_channels + data.known_channels
    model = build_forecaster(recipe.model, in_channels=channels, out_channels=1, grid=data.grid)
    loss = build_component("losses", recipe.train.loss, LossSite(1, (4, 4)))
    return data, Objective(model, loss, recipe.data.input_steps)


def test_training_on_crops(crops):
    data, objective = parts(crops)
    stream = data.stream(crops.seed, 8)
    batch = stream.batch(0)
    seen = Looks().during(lambda: objective(batch), (6, 4))
    fields = [
        data.train.raw(index).fields[: crops.data.input_steps, :, box.top : box.top + 6, box.left : box.left + 4]
        for index, box in zip(stream.indices(0), stream.boxes(0), strict=True)
    ]
    assert seen.equal(expected(np.stack(fields), patch=1))
    assert len({tuple(mask.flatten().tolist()) for mask in seen}) > 1, "the crops differ"


def test_validation(crops):
    data, objective = parts(crops)
    batch = collate([data.validation[0], data.validation[1]])
    steps = crops.data.input_steps
    seen = Looks().during(lambda: validation_terms(objective.forecaster, objective.loss, batch, steps), (8, 8))
    assert seen.equal(expected(np.stack([data.validation.raw(n).fields[:steps] for n in range(2)]), patch=1))
    assert not seen.all()


def test_forecasts_and_streams_of_a_run(recipe, field, tmp_path):
    run = execute(recipe({"model": MODEL, "train.steps": 1}), out=tmp_path / "run", evaluate=False).run
    trained = stkit.load(run.path)
    with xr.open_dataset(field) as dataset:
        values, times = dataset["sst"].values[None, 20:24, None], dataset["time"].values[20:24]
    values = values.copy()
    values[:, :3, :, 6:, 4:6] = np.nan  # at sea, and missing in the whole context
    context, frame = values[:, :3], values[:, 3]
    seen = Looks().during(lambda: trained(context, 2, times=times[:3]), (4, 4))
    assert seen.equal(expected(context))
    assert int((~seen).sum()) == 2, "a corner of land, and a gap"

    streams = []
    seen = Looks().during(lambda: streams.append(trained.warm(context, times[:3])), (4, 4))
    assert seen.equal(expected(context))
    (stream,) = streams
    assert Looks().during(lambda: trained.step(None, stream), (4, 4)).equal(expected(context))
    later = Looks().during(lambda: trained.step(frame, stream), (4, 4))
    assert later.equal(expected(values)), "where a value has come by now"
    assert int((~later).sum()) == 1

    garbage = np.where(np.isnan(values[:, :3]), np.float32(0), values[:, :3])
    garbage[..., :2, :2] = 1e6  # on land
    on_land = Looks().during(lambda: trained(garbage, 2, times=times[:3]), (4, 4))
    assert not on_land[:, 0, 0].any(), "land is where the training part never had a value"
