"""The loop waits for nobody: neither for the device's results nor for batches, and says how long it did."""

import json
import threading
import time
from contextlib import closing
from multiprocessing import active_children

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stkit.data.stream import TrainStream
from stkit.errors import DataError, RunFailed
from stkit.run.execute import execute
from stkit.train import trainer
from stkit.train.batches import Batches
from stkit.train.device import make_accelerator
from stkit.train.sampling import tokens
from stkit.train.setup import assemble
from stkit.train.step import optimiser_step, read_results
from stkit.train.validation import validate
from tests.train.conftest import assert_same_tensors, metrics, tensors

READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal"}


class Reads(TorchDispatchMode):
    """Counts the operations for whose result the program waits."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in READS
        return func(*args, **(kwargs or {}))


@pytest.fixture
def listed(monkeypatch):
    """How often a tensor was made a list, which no operation stands for."""
    calls = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: (calls.append(1), original(tensor))[1])
    return calls


def test_reads_are_counted(listed):
    with Reads() as reads:
        torch.ones(()).item()
        bool(torch.ones(()) > 0)
        torch.ones(2).tolist()
    assert (reads.count, len(listed)) == (2, 1)


def test_results_are_read_once_an_interval(recipe, listed, monkeypatch):
    training = assemble(recipe({"train.accumulate": 2, "train.clip_norm": 1.0}), make_accelerator())
    # The optimiser's own count of steps is on the CPU, whatever the device.
    monkeypatch.setattr(training.optimiser, "step", lambda: None)
    optimiser_step(training)
    listed.clear()
    with Reads() as reads:
        for _ in range(4):
            assert optimiser_step(training, read=False) is None
    assert (reads.count, len(listed)) == (0, 0)
    assert len(training.unread) == 4
    assert read_results(training).loss > 0
    assert len(listed) == 4
    assert training.loss_steps == 5
    assert read_results(training) is None


@pytest.mark.parametrize("interval", [1, 2, 4])
def test_the_log_is_the_same_whenever_results_are_read(recipe, tmp_path, monkeypatch, interval):
    changes = {"train.log_every_steps": interval}
    execute(recipe(changes), out=tmp_path / "cpu", evaluate=False)
    monkeypatch.setattr(trainer, "_works_behind", lambda device: True)
    execute(recipe(changes), out=tmp_path / "gpu", evaluate=False)
    assert metrics(tmp_path / "gpu") == metrics(tmp_path / "cpu")
    assert_same_tensors(tensors(tmp_path / "gpu"), tensors(tmp_path / "cpu"))


def test_a_loss_that_is_not_finite_is_found_at_the_next_reading(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_works_behind", lambda device: True)
    original = trainer.optimiser_step

    def spoiled(training, **more):
        if training.step == 3:
            with torch.no_grad():
                next(training.objective.forecaster.parameters()).fill_(torch.nan)
        return original(training, **more)

    monkeypatch.setattr(trainer, "optimiser_step", spoiled)
    changes = {"train.log_every_steps": 6, "train.checkpoint_every_steps": 2}
    with pytest.raises(RunFailed, match=r"not finite at step 4 \(mse = nan\).*the optimiser did not take that step"):
        execute(recipe(changes), out=tmp_path / "early", evaluate=False)  # step 4 is read: a checkpoint is due
    with pytest.raises(RunFailed, match=r"not finite at step 4 \(mse = nan\).*no checkpoint has what came after it"):
        execute(recipe({**changes, "train.checkpoint_every_steps": 3}), out=tmp_path / "late", evaluate=False)
    for name in ("early", "late"):
        assert all(torch.isfinite(tensor).all() for tensor in tensors(tmp_path / name).values())


def test_the_time_spent_waiting_is_in_the_log_and_in_the_record(recipe, tmp_path, monkeypatch):
    original = TrainStream.batch

    def slow(self, step):
        time.sleep(0.5)
        return original(self, step)

    loaded = recipe({"train.steps": 3})
    done = execute(loaded, out=tmp_path / "quick", evaluate=False)
    quick = done.run.read_record()["waiting_share"]
    monkeypatch.setattr(TrainStream, "batch", slow)
    done = execute(loaded, out=tmp_path / "slow", evaluate=False)
    share = done.run.read_record()["waiting_share"]
    assert 0 <= quick < share - 0.1 < 1
    lines = [json.loads(line) for line in (tmp_path / "slow" / "metrics.jsonl").read_text().splitlines()]
    told = [line["waiting_share"] for line in lines if line["kind"] == "train"]
    assert told[-1] == pytest.approx(share, abs=0.02)
    assert "waiting for data" in (tmp_path / "slow" / "log.txt").read_text()


def test_nothing_is_read_while_a_validation_reads(recipe, monkeypatch):
    making, together = threading.Event(), []
    original = TrainStream.batch

    def slow(self, step):
        making.set()
        time.sleep(0.02)
        made = original(self, step)
        making.clear()
        return made

    monkeypatch.setattr(TrainStream, "batch", slow)
    training = assemble(recipe(), make_accelerator())
    fetch = type(training.data.validation).__getitem__
    monkeypatch.setattr(
        type(training.data.validation),
        "__getitem__",
        lambda self, index: (together.append(making.is_set()), fetch(self, index))[1],
    )
    with closing(training.batches):
        optimiser_step(training)
        validate(training)
    assert together
    assert not any(together)


def test_batches_are_those_of_the_stream_whatever_is_asked_for(recipe):
    training = assemble(recipe(), make_accelerator())
    stream = training.data.stream(3, 4)
    with closing(Batches(stream, count=4, workers=0)) as batches:
        for number in (0, 1, 1, 2, 0, 3):
            for name, value in batches[number].items():
                assert torch.equal(value, stream.batch(number)[name])
        with pytest.raises(StopIteration):
            batches[4]
        batches.close()
        assert torch.equal(batches[2]["frames"], stream.batch(2)["frames"])


def test_training_leaves_neither_thread_nor_process(recipe, tmp_path, monkeypatch):
    """However it ends."""

    def left():
        return [thread.name for thread in threading.enumerate() if "stkit" in thread.name], active_children()

    execute(recipe({"train.workers": 1}), out=tmp_path / "whole", evaluate=False)
    assert left() == ([], [])
    broken_after(monkeypatch, 2)
    with pytest.raises(DataError, match="the disk went away"):
        execute(recipe(), out=tmp_path / "broken", evaluate=False)
    assert left() == ([], [])


def test_an_error_in_the_data_is_told_where_training_asks_for_them(recipe, monkeypatch):
    broken_after(monkeypatch, 2)
    training = assemble(recipe(), make_accelerator())
    with closing(training.batches):
        optimiser_step(training)
        optimiser_step(training)
        with pytest.raises(DataError, match="the disk went away"):
            optimiser_step(training)


def broken_after(monkeypatch, steps):
    """The training data can be read for so many steps."""
    original = TrainStream.batch

    def broken(self, step):
        if step == steps:
            raise DataError("the disk went away")
        return original(self, step)

    monkeypatch.setattr(TrainStream, "batch", broken)


def test_masks_of_sampling_are_one_bool_for_each_sample_and_input(recipe):
    """Not one for each cell of each frame, as in the released code."""
    sampling = recipe().recipe.train.sampling
    mask = tokens(sampling, step=0, seed=0, share=slice(0, 3), global_batch=4, frames=9, context_steps=3)
    assert mask.dtype == torch.bool
    assert mask.shape == (3, 7)
