"""CUDA graphs without a GPU: a recorder that computes anew where a graph would be replayed, in the graph's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

import stkit
from stkit.cells import observe
from stkit.stacks import captured
from stkit.stacks.captured import Captured, Forecasts


class Anew:
    """Holds a function to what a graph needs: it sees its arguments where they were when it was recorded."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        made = run()
        return made, lambda: _copied(made, run())


def _copied(there: Any, here: Any) -> None:
    tree_map(lambda a, b: None if a is None else a.detach().copy_(b.detach()), there, here)


def test_it_is_recorded_once_for_each_size_and_what_it_gives_is_the_callers() -> None:
    recorder = Anew()
    twice = Captured(lambda a, b: {"sum": a + b, "parts": (a, None)} if b is not None else {"sum": 2 * a}, recorder)
    first = twice(torch.ones(3), torch.ones(3))
    second = twice(torch.full((3,), 5.0), torch.ones(3))
    assert (first["sum"].tolist(), second["sum"].tolist()) == ([2.0] * 3, [6.0] * 3)
    assert first["parts"][0].tolist() == [1.0] * 3
    assert twice(torch.ones(3), None)["sum"].tolist() == [2.0] * 3
    assert (recorder.recorded, twice.sizes) == (2, 2)
    with torch.no_grad():
        twice(torch.ones(3), None)
    assert twice.sizes == 3


def test_further_sizes_are_computed_without_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "MOST", 1)
    recorder = Anew()
    negative = Captured(lambda a: -a, recorder)
    for size in (2, 3, 2):
        assert negative(torch.ones(size)).tolist() == [-1.0] * size
    assert recorder.recorded == 1


def test_parameters_may_change_in_place() -> None:
    line = torch.nn.Linear(2, 1)
    by_graph = Captured(line, Anew())
    x = torch.randn(4, 2)
    by_graph(x)
    with torch.no_grad():
        line.weight.mul_(3)
    assert torch.equal(by_graph(x), line(x))


def test_what_a_recording_changes_is_put_back() -> None:
    total = torch.zeros(1)

    def adding(x: Tensor) -> Tensor:
        return total.add_(x.sum())

    def setting() -> Callable[[], None]:
        kept = total.clone()
        return lambda: _copied(total, kept)

    adds = Captured(adding, Anew(), setting=setting)
    adds(torch.ones(2))
    assert total.item() == 2
    adds(torch.ones(2))
    assert total.item() == 4


@pytest.mark.parametrize("values", [{}, {"attention": {"h": "self_attention"}}])
def test_forecasts_are_those_of_the_forecaster(values: dict[str, Any]) -> None:
    torch.manual_seed(0)
    forecaster = stkit.build("predrnn", in_channels=2, out_channels=1, layers=[3], cell={"kernel": 3}, **values)
    recorder = Anew()
    ahead = Forecasts(forecaster, recorder)
    for seed in (1, 2):
        context = torch.randn(2, 3, 2, 4, 5, generator=torch.Generator().manual_seed(seed))
        known, valid = torch.full((2, 3, 1, 4, 5), float(seed)), torch.ones(2, 3, 1, 4, 5, dtype=torch.bool)
        found = ahead(context, 3, known=known, valid=valid)
        assert not found.requires_grad
        assert torch.equal(found, forecaster(context, 3, known=known, valid=valid))
    assert torch.equal(ahead(context, 2), forecaster(context, 2))
    assert recorder.recorded == 2
    assert ahead.seconds > 0


def test_a_size_may_be_recorded_when_it_comes_again_and_nothing_is_while_somebody_watches() -> None:
    forecaster = stkit.build("predrnn", layers=[3], cell={"kernel": 3})
    recorder = Anew()
    ahead = Forecasts(forecaster, recorder, at_once=False)
    context = torch.rand(1, 2, 1, 4, 4)
    for times, recorded in enumerate((0, 1, 1)):
        assert torch.equal(ahead(context, 2), forecaster(context, 2)), times
        assert recorder.recorded == recorded
    with observe.watch(observe.Observer()):
        ahead(context, 3)
        ahead(context, 3)
    assert recorder.recorded == 1


def test_what_cannot_be_recorded_is_computed_without_a_graph_after_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class Unable:
        def record(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    forecaster = stkit.build("predrnn", layers=[3], cell={"kernel": 3})
    ahead = Forecasts(forecaster, Unable())
    context = torch.rand(1, 2, 1, 4, 4)
    for _ in range(2):
        assert torch.equal(ahead(context, 2), forecaster(context, 2))
    told = [record.message for record in caplog.records]
    assert told == ["forecasts go on without CUDA graphs: operation not permitted when stream is capturing"]
