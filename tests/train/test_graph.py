"""Training by CUDA graphs, without a GPU: a recorder that computes anew stands in for CUDA's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from stkit.errors import UsageError
from stkit.recipe.sections.train import TrainConfig
from stkit.run.execute import execute
from stkit.train import graph, setup
from stkit.train.device import make_accelerator
from stkit.train.graph import GraphedPasses, obstacle

CUDA = torch.device("cuda")


class Anew:
    """Computes anew into the same memory, as a graph would; the recording itself computes too, as warming up does."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        made = run()
        return made, lambda: tree_map(lambda a, b: a.copy_(b), made, run())


class Unable:
    def record(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        run()
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")


def squares(module: nn.Module) -> graph.Passes:
    def passes(part: graph.Part, tokens: Tensor | None, factors: Tensor) -> Tensor:
        total = module(part["frames"]).square().sum()
        (total * factors[0]).backward()
        return total.detach()[None].double()

    return passes


def gradients(asked: Any, recorder: Any) -> tuple[list[list[float]], GraphedPasses]:
    """Of three optimiser steps of two parts each, the last one of another size."""
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    unused = nn.Linear(2, 1)
    both = nn.ModuleList([module, unused])
    passes = GraphedPasses(squares(module), both, asked, None, recorder)
    found = []
    for step in range(3):
        for parameter in both.parameters():
            if passes.keeps_gradients and parameter.grad is not None:
                parameter.grad.zero_()
            else:
                parameter.grad = None
        for size in (4, 2):
            frames = torch.randn(size, 3, generator=torch.Generator().manual_seed(step))
            passes({"frames": frames}, None, torch.tensor([0.5 + step]))
        assert module.weight.grad is not None
        found.append([*module.weight.grad.flatten().tolist(), float(module.bias.grad)])
        assert unused.weight.grad is None  # or an optimiser would decay it
    return found, passes


def test_gradients_are_those_of_launches_and_recording_adds_nothing() -> None:
    recorder = Anew()
    by_graph, passes = gradients("auto", recorder)
    launched, _ = gradients("off", None)
    assert by_graph == launched
    assert recorder.recorded == 2
    assert passes.told["recorded"] is True


def test_what_cannot_be_recorded_goes_on_without_after_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="stkit.train"):
        found, passes = gradients("auto", Unable())
    assert found == gradients("off", None)[0]
    (told,) = [record.message for record in caplog.records]
    assert told == (
        "train.graph: training goes on without a graph; the step could not be recorded: "
        "CUDA error: operation not permitted when stream is capturing"
    )
    assert passes.told == {"asked": "auto", "recorded": False, "because": passes.reason}


class Falling(nn.Linear):
    """A module with a weight that falls from step to step, once as a Python value and once in a tensor."""

    def __init__(self, *, in_tensor: bool) -> None:
        super().__init__(3, 1)
        self.in_tensor = in_tensor
        self.factor = 1.0
        self.register_buffer("kept", torch.ones(()))

    def at_step(self, step: int) -> None:
        if self.in_tensor:
            self.get_buffer("kept").fill_(1 / (1 + step))
        else:
            self.factor = 1 / (1 + step)

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.get_buffer("kept") * super().forward(x)


def falling(asked: Any, *, in_tensor: bool) -> tuple[list[float], GraphedPasses]:
    """Biases' gradients of three steps."""
    torch.manual_seed(0)
    module, found = Falling(in_tensor=in_tensor), []
    passes = GraphedPasses(squares(module), module, asked, None, Anew())
    for step in range(3):
        module.at_step(step)
        module.zero_grad(set_to_none=not passes.keeps_gradients)
        passes({"frames": torch.ones(2, 3)}, None, torch.ones(1))
        assert module.bias.grad is not None
        found.append(float(module.bias.grad))
    return found, passes


def test_a_value_that_changes_ends_the_graphs_and_a_tensor_does_not(caplog: pytest.LogCaptureFixture) -> None:
    """A graph would go on with the value of the step at which it was recorded."""
    expected, _ = falling("off", in_tensor=False)
    with caplog.at_level(logging.WARNING, logger="stkit.train"):
        in_tensor, passes = falling("auto", in_tensor=True)
        assert not caplog.records
        by_value, gave_up = falling("auto", in_tensor=False)
    assert expected == in_tensor == by_value
    assert passes.told["recorded"] is True
    (told,) = [record.message for record in caplog.records]
    assert told == (
        "train.graph: training goes on without a graph; Falling.factor was 1.0 when the step was recorded and is 0.5 "
        "now; a graph follows values that change in a tensor, such as a buffer"
    )
    assert gave_up.told == {"asked": "auto", "recorded": False, "because": gave_up.reason}
    assert not gave_up.keeps_gradients
    with pytest.raises(UsageError, match=r"train\.graph: on cannot be, Falling\.factor was 1\.0 when"):
        falling("on", in_tensor=False)


def test_insisting_on_what_cannot_be_recorded_is_refused() -> None:
    with pytest.raises(UsageError, match=r"train\.graph: on cannot be, the step could not be recorded: CUDA error: op"):
        gradients("on", Unable())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"device": torch.device("cpu")}, "graphs are of NVIDIA's GPUs, and this is cpu"),
        ({"processes": 2}, "2 processes wait for each other inside a step"),
        ({"precision": "fp16"}, "fp16 looks at its gradients inside a step"),
        ({"recompute": "layer"}, "what is computed again in the backward pass is not recorded"),
        ({}, None),
    ],
)
def test_what_stands_in_the_way(said: dict[str, Any], told: str | None) -> None:
    assert obstacle(**{"device": CUDA, "processes": 1, "precision": "bf16", "recompute": "none", **said}) == told


def test_insisting_without_a_gpu_is_refused_before_anything_is_written(recipe: Any, tmp_path: Any) -> None:
    told = r"train\.graph: on cannot be, as graphs are of NVIDIA's GPUs, and this is cpu"
    with pytest.raises(UsageError, match=told):
        execute(recipe({"train.graph": "on"}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_by_graphs_is_the_same(recipe: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(name: str) -> tuple[bytes, Any]:
        run = execute(recipe({"train.steps": 3, "train.accumulate": 2}), out=tmp_path / name)
        (saved,) = sorted((run.run.path / "checkpoints").glob("*/model.safetensors"))[-1:]
        return saved.read_bytes(), json.loads((run.run.path / "run.json").read_text())["graph"]

    launched, told = weights("launched")
    assert told == {"asked": "auto", "recorded": False, "because": "graphs are of NVIDIA's GPUs, and this is cpu"}
    monkeypatch.setattr(setup, "obstacle", lambda **_: None)
    monkeypatch.setattr(graph, "CudaGraphs", Anew)
    by_graph, told = weights("graph")
    assert told["recorded"] is True
    assert by_graph == launched


def test_tf32_needs_a_gpu() -> None:
    with pytest.raises(UsageError, match=r"train\.precision: tf32 needs a GPU and there is none here; use 'no'"):
        make_accelerator("tf32")


def test_a_recipe_without_it_keeps_its_hash() -> None:
    said = {"steps": 1, "loss": {"name": "mse"}, "sampling": {"name": "none"}}
    assert "graph" not in TrainConfig.model_validate(said).model_dump()
    assert TrainConfig.model_validate({**said, "graph": "off"}).model_dump()["graph"] == "off"
