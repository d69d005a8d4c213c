"""Batches are there when a device is done, and what is told as waiting is time in which it had nothing to do."""

import threading
import time
from collections import deque

import pytest
import torch

from stkit.train.ahead import AHEAD, Ahead
from stkit.train.batches import Batches
from stkit.train.behind import MOST_STEPS, Gpu, Never, behind
from stkit.train.device import make_accelerator
from stkit.train.setup import assemble, ready_for
from stkit.train.step import optimiser_step


class Stream:
    """Batches that take some time; the interpreter is free meanwhile, as in a read or a tensor operation."""

    def __init__(self, seconds):
        self.seconds = seconds

    def batches(self, start, stop, workers):
        for number in range(start, stop):
            time.sleep(self.seconds[number % len(self.seconds)])
            yield {"number": torch.tensor(number)}


class Gadget:
    """A device that works off steps of some seconds by itself, as a GPU does."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.ends = deque()
        self.stood_still = 0.0

    def given(self):
        now = time.perf_counter()
        last = self.ends[-1] if self.ends else now
        self.stood_still += max(now - last, 0.0)
        self.ends.append(max(now, last) + self.seconds)

    def busy(self):
        return bool(self.ends) and time.perf_counter() < self.ends[-1]

    def keep_up(self):
        while len(self.ends) >= MOST_STEPS:
            time.sleep(max(self.ends.popleft() - time.perf_counter(), 0.0))


def trained(batches, steps, step):
    """Steps after a first one, for which there is nothing to compute; gives the share of waiting."""
    step(batches[0])
    before, start = batches.waited_seconds, time.perf_counter()
    for number in range(1, steps):
        assert int(batches[number]["number"]) == number
        step(None)
    waited, taken = batches.waited_seconds - before, time.perf_counter() - start
    batches.close()
    return waited / taken


def test_no_step_waits_where_a_batch_takes_no_longer_than_it_on_average():
    """Here every third batch takes longer than a step: those that are ready last until it is there."""
    batches = Batches(Stream([0.005, 0.005, 0.06]), count=13, workers=0)
    assert trained(batches, 13, lambda batch: time.sleep(0.04)) < 0.02


def test_waiting_is_told_where_batches_take_longer():
    batches = Batches(Stream([0.03]), count=9, workers=0)
    assert 0.5 < trained(batches, 9, lambda batch: time.sleep(0.01)) < 0.75


@pytest.mark.parametrize(("batch_seconds", "step_seconds", "waits"), [(0.01, 0.025, False), (0.03, 0.015, True)])
def test_of_a_device_that_works_by_itself_only_its_own_waiting_counts(batch_seconds, step_seconds, waits):
    """The program waits for each batch; the device waits only where it has no step before it."""
    gadget = Gadget(step_seconds)
    batches = Batches(Stream([batch_seconds]), count=14, workers=0, busy=gadget.busy)

    def step(batch):
        gadget.given()
        gadget.keep_up()

    start = time.perf_counter()
    told = trained(batches, 14, step)
    taken = time.perf_counter() - start
    assert told == pytest.approx(gadget.stood_still / taken, abs=0.1)
    assert (told < 0.02) is not waits


def test_two_items_are_kept_ready_and_no_more():
    made, asked = [], threading.Semaphore(0)

    def items():
        for number in range(10):
            made.append(number)
            asked.release()
            yield number

    with Ahead(items()) as ahead:
        assert next(ahead) == 0
        for _ in range(1 + AHEAD):
            assert asked.acquire(timeout=5)
        assert not asked.acquire(timeout=0.05)
        assert made == [0, 1, 2]
        ahead.rest()
        assert list(ahead) == [*range(1, 10)]


def test_nothing_is_fetched_after_rest_until_the_next_is_asked_for():
    begun, may_end = threading.Event(), threading.Event()
    made = []

    def items():
        for number in range(5):
            if number == 1:
                begun.set()
                may_end.wait(5)
            made.append(number)
            yield number

    with Ahead(items()) as ahead:
        assert next(ahead) == 0
        assert begun.wait(5)
        threading.Timer(0.02, may_end.set).start()
        ahead.rest()
        assert made == [0, 1]
        time.sleep(0.02)
        assert made == [0, 1]
        assert [next(ahead), next(ahead)] == [1, 2]


def test_an_error_comes_in_its_turn_and_the_thread_ends():
    def items():
        yield 1
        yield 2
        raise ValueError("broken")

    threads = threading.active_count()
    with Ahead(items()) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(ValueError, match="broken"):
            next(ahead)
        assert list(ahead) == []
    assert threading.active_count() == threads


class Event:
    """CUDA's event: done when told so."""

    made = []

    def __init__(self, blocking):
        assert blocking
        self.done = self.waited_for = False
        Event.made.append(self)

    def record(self, stream):
        assert stream == "stream of cuda:0"

    def query(self):
        return self.done

    def synchronize(self):
        self.waited_for = self.done = True


def test_a_gpu_is_two_steps_behind_at_the_most(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(Event, "made", [])
    gpu = behind(torch.device("cuda", 0))
    assert isinstance(gpu, Gpu)
    assert not gpu.busy()
    for _ in range(2):
        gpu.keep_up()
        gpu.given()
    first, second = Event.made
    assert gpu.busy()
    assert not first.waited_for
    gpu.keep_up()
    assert (first.waited_for, second.waited_for) == (True, False)
    assert gpu.busy()
    second.done = True
    assert not gpu.busy()
    assert isinstance(behind(torch.device("cpu")), Never)


def test_a_step_waits_for_the_device_first_and_tells_it_at_last(recipe):
    training, told = assemble(recipe(), make_accelerator()), []
    training.behind = type(
        "Told", (), {"keep_up": lambda _: told.append("wait"), "given": lambda _: told.append("given")}
    )()
    fetch = training.batches.__class__.__getitem__
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Batches, "__getitem__", lambda self, number: (told.append("batch"), fetch(self, number))[1])
        optimiser_step(training)
    training.batches.close()
    assert told == ["wait", "batch", "given"]


def test_a_batch_for_a_gpu_has_what_is_read_in_pinned_memory(recipe, monkeypatch):
    loss = assemble(recipe(), make_accelerator()).objective.loss
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: (pinned.append(tensor), tensor)[1])
    sample = {name: torch.ones(1) for name in ("frames", "valid", "known", "physical", "start")}
    assert ready_for(torch.device("cpu"), loss)(sample).keys() == {"frames", "valid", "known"}
    assert pinned == []
    assert ready_for(torch.device("cuda"), loss)(sample).keys() == {"frames", "valid", "known"}
    assert len(pinned) == 3
