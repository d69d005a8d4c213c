"""What a CUDA graph records of the shipped recipes: nothing that a recording forbids, seen without a GPU.

The tensors only claim to be on one (torch's fake tensors). A copy from the processor, or a value that is read, ends a
recording, and then training goes on without a graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stkit.data.source import Variable
from stkit.recipe import load
from stkit.stacks.build import build_forecaster
from stkit.train.callbacks import CallbackContext
from stkit.train.losses import LossSite
from stkit.train.objective import Objective
from stkit.train.setup import build_component

CUDA = torch.device("cuda")
CONTEXT, AHEAD, KNOWN, GRID = 3, 2, 1, (16, 16)
RECIPES = [
    "convlstm",
    "predrnn",
    "predrnnpp",
    "mim",
    "mim-star",
    "e3d-lstm",
    "predrnn-v2-mnist",
    "e3d-lstm-mnist-recognition",
    "predrnn+reverse-sampling",
    "predrnn-sst+attention+recall+nonstationary",
    "mim+attention",
    "convlstm+radar",
]


class Forbidden(TorchDispatchMode):
    """Notes operations on tensors of the processor, and those whose result's size depends on values or is one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _reads(function, args):
            self.found.add(f"{function}: reads a value")
        made = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, made)) if isinstance(x, Tensor)]
        if any(x.device.type != CUDA.type for x in tensors):
            self.found.add(f"{function}: on the processor")
        return made


def _reads(function: Any, args: Any) -> bool:
    """Whether the processor must wait for values: for a number, or for the size of what is selected."""
    if function is torch.ops.aten.index.Tensor:
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    return any(tag in function.tags for tag in (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape))


@pytest.fixture(autouse=True)
def _recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)


def test_what_is_forbidden_is_seen() -> None:
    with FakeTensorMode(), Forbidden() as seen:
        torch.tensor(1.0, device=CUDA)
        assert seen.found
        seen.found.clear()
        torch.full((), 1.0, device=CUDA)
        assert not seen.found
        with pytest.raises(Exception, match="_local_scalar_dense"):
            bool(torch.ones(2, device=CUDA).all())
        assert seen.found


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_pass_and_a_forecast(name: str) -> None:
    recipe = load(name).recipe
    with FakeTensorMode(), Forbidden() as seen:
        forecaster = build_forecaster(
            recipe.model, in_channels=1 + KNOWN, out_channels=1, known_channels=KNOWN, grid=GRID, device=CUDA
        )
        widths = tuple(layer.width for layer in recipe.model.layers)
        with CUDA:
            loss = build_component("losses", recipe.train.loss, LossSite(1, widths, (Variable("rain", "mm/h"),)))
        objective = Objective(forecaster, loss, CONTEXT)
        for config in recipe.train.callbacks:
            build_component("callbacks", config).on_start(CallbackContext(recipe, Path(), objective, is_main=True))
        batch = {
            name: torch.empty(2, CONTEXT + AHEAD, channels, *GRID, device=CUDA, dtype=kind)
            for name, channels, kind in (
                ("frames", 1, torch.float32),
                ("valid", 1, torch.bool),
                ("known", KNOWN, torch.float32),
                *((read, 1, torch.float32) for read in loss.reads),
            )
        }
        tokens = None
        if recipe.train.sampling.name != "none":
            tokens = torch.empty(2, CONTEXT + AHEAD - 2, dtype=torch.bool, device=CUDA)
        context = torch.cat([batch["frames"], batch["known"]], dim=2)[:, :CONTEXT]
        seen.found.clear()  # of building it
        objective(batch, tokens)
        with torch.no_grad():
            forecaster(context, AHEAD, known=batch["known"][:, CONTEXT:], valid=batch["valid"][:, :CONTEXT])
    assert not seen.found
