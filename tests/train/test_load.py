"""A trained forecaster: physical units in and out, any horizon, streams, and refusals."""

import numpy as np
import pytest
import torch
import xarray as xr

import stkit
from stkit.errors import CheckpointError, DataError, UsageError
from stkit.run.execute import execute
from stkit.stacks.captured import Forecasts

KINDS = {
    "plain": {},
    "departure": {
        "data.departure_from": "damped_anomaly",
        "data.transforms": {"anomaly": "month"},
        "data.extra_inputs": ["calendar", "mask"],
    },
    "departure from climatology": {"data.departure_from": "climatology"},
    "differencing": {"model": {"name": "predrnn", "layers": [4, 4], "patch": 2, "nonstationary": "differencing"}},
    "reversible norm": {
        "model": {"name": "convlstm", "layers": [3], "patch": 3, "nonstationary": "reversible_norm"},
        "train.sampling": {"name": "none"},
        "data.extra_inputs": ["mask"],
    },
    "trend": {
        "model": {"name": "predrnn", "layers": [4], "nonstationary": "trend_season"},
        "data.transforms": {"anomaly": "month"},
    },
    "encoder": {"model": {"name": "convlstm", "layers": [3, 4], "patch": 3}, "train.sampling": {"name": "none"}},
}


@pytest.fixture(params=KINDS)
def trained(request, recipe, tmp_path):
    run = execute(recipe({"train.steps": 2, **KINDS[request.param]}), out=tmp_path / "run", evaluate=False).run
    return stkit.load(run.path)


@pytest.fixture
def record(field):
    with xr.open_dataset(field) as dataset:
        return dataset["sst"].values[:, None], dataset["time"].values


def test_physical_units_in_and_out(trained, record):
    values, times = record
    forecast = trained(values[10:15], 4, times=times[10:15])
    assert forecast.shape == (1, 4, 1, 8, 8)
    assert forecast[..., :2, :2].isnan().all()  # land
    sea = forecast[..., 2:, :]
    assert sea.isfinite().all()
    assert 10 < sea.mean() < 30  # degrees, not deviations
    assert not sea.requires_grad


def test_calls_and_pieces_are_recorded_when_their_size_comes_again(trained, record, monkeypatch):
    """As on a GPU, where calls, evaluation and prediction share the graphs; a long forecast goes without."""
    values, times = record

    class Anew:
        recorded = 0

        def record(self, run):
            self.recorded += 1
            made = run()
            return made, lambda: made.copy_(run())

    recorder = Anew()
    monkeypatch.setattr(trained, "_by_graphs", Forecasts(trained.forecaster, recorder, at_once=False))
    for first, recorded in ((10, 0), (11, 1), (12, 1)):
        given, when = values[first : first + 5], times[first : first + 5]
        ((place, piece),) = trained.pieces(given, 3, times=when)
        assert place == 0
        assert recorder.recorded == recorded
        whole = torch.cat([said for _, said in trained.pieces(given, 3, at_a_time=1, times=when)], dim=1)
        torch.testing.assert_close(piece, whole, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert torch.equal(trained(given, 3, times=when).nan_to_num(), piece.nan_to_num())
    assert recorder.recorded == 1


def test_batches_tensors_and_times_of_each(trained, record):
    values, times = record
    starts = (3, 20, 31)
    context = torch.from_numpy(np.stack([values[start : start + 5] for start in starts]))
    when = np.stack([times[start : start + 5] for start in starts])
    together = trained(context, 3, times=when)
    for place, start in enumerate(starts):
        alone = trained(values[start : start + 5], 3, times=times[start : start + 5])
        assert torch.allclose(together[place], alone[0], rtol=1e-5, equal_nan=True)
    ahead = np.stack([times[start + 5 : start + 8] for start in starts])
    assert torch.equal(trained(context, 3, times=when, target_times=ahead).nan_to_num(), together.nan_to_num())


def test_a_stream_is_the_batch_step_by_step(trained, record):
    values, times = record
    values = values.copy()
    values[12, 0, 4, 4] = values[15, 0, 5, 3] = np.nan
    stream = trained.warm(values[10:15], times[10:15])
    whole = trained(values[10:15], 4, times=times[10:15])
    assert torch.allclose(stream.forecast, whole[:, 0], equal_nan=True)
    # A frame that comes: as if the context had been longer.
    forecast, after = trained.step(values[15:16], stream)
    longer = trained(values[10:16], 1, times=times[10:16])
    assert torch.allclose(forecast, longer[:, 0], rtol=1e-5, equal_nan=True)
    assert after.missed == 0
    # The stream's state is a value: going on from the same one twice gives the same.
    again, _ = trained.step(values[15:16], stream)
    assert torch.equal(again.nan_to_num(), forecast.nan_to_num())


def test_frames_that_do_not_come(trained, record):
    values, times = record
    stream = trained.warm(values[10:15], times[10:15])
    whole = trained(values[10:15], 4, times=times[10:15])
    for lead in range(1, 4):
        forecast, stream = trained.step(None, stream)
        if trained.recipe.model.rollout.name == "next_frame":
            assert torch.allclose(forecast, whole[:, lead], rtol=1e-5, equal_nan=True)
        assert forecast[..., 2:, :].isfinite().all()
        assert stream.missed == lead
    _, stream = trained.step(values[18:19], stream)
    assert stream.missed == 0
    assert stream.times[0, -1] == times[18]


def test_missing_values_in_the_context(trained, record):
    values, times = record
    context = values[10:15].copy()
    context[-1, 0, 5] = np.nan
    context[2] = np.nan
    assert trained(context, 2, times=times[10:15])[..., 2:, :].isfinite().all()


def test_what_does_not_fit_is_refused(trained, record):
    values, times = record
    with pytest.raises(
        DataError, match=r"expected fields B T 1 8 8 \(the variables sst .*received the shape \(1, 5, 1, 8, 7\)"
    ):
        trained(values[:5, ..., :7], 1, times=times[:5])
    with pytest.raises(DataError, match=r"received the shape \(1, 5, 2, 8, 8\)"):
        trained(np.repeat(values[:5], 2, axis=1), 1, times=times[:5])
    with pytest.raises(DataError, match="give the times of the context"):
        trained(values[:5], 1)
    with pytest.raises(DataError, match=r"times: expected 5 times, or 1 x 5, received the shape \(4,\)"):
        trained(values[:5], 1, times=times[:4])
    with pytest.raises(ValueError, match="horizon"):
        trained(values[:5], 0, times=times[:5])


def test_best_latest_or_one_checkpoint(recipe, tmp_path):
    changes = {"train.steps": 6, "train.evaluate_every_steps": 2, "train.optimiser": {"name": "sgd", "lr": 30.0}}
    run = execute(recipe(changes), out=tmp_path / "run", evaluate=False).run
    best = run.read_record()["best_step"]
    assert stkit.load(run.path).trained_steps == best
    assert stkit.load(run.path, weights="latest").trained_steps == 6
    assert stkit.load(run.checkpoints / f"step-{best:06d}").trained_steps == best
    assert stkit.load(str(run.path), device="cpu").device.type == "cpu"


def test_a_run_that_cannot_be_loaded(recipe, tmp_path):
    with pytest.raises(UsageError, match="no such run directory"):
        stkit.load(tmp_path / "run")
    run = execute(recipe({"train.steps": 1}), out=tmp_path / "run", evaluate=False).run
    (manifest,) = run.checkpoints.glob("*/manifest.json")
    content = manifest.read_text()
    manifest.write_text(content[:100])
    with pytest.raises(CheckpointError, match=r"manifest.json: cut short or not JSON"):
        stkit.load(run.path)
    manifest.write_text(content)
    (run.pipeline / "pipeline.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"pipeline.safetensors is missing"):
        stkit.load(run.path)
    for pointer in run.checkpoints.glob("*.json"):
        pointer.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        stkit.load(run.path)
