"""Whole forecasters as graphs, beyond what the contract asks of each: horizons, known inputs, training, streams."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import stkit
from stkit.stacks import Forecaster
from stkit.testing._graph import capturing
from stkit.testing.contract import CellContract
from stkit.testing.strategies import tensor

INDUCTOR = "STKIT_TEST_INDUCTOR"


class Ahead(nn.Module):
    """A forecast with known inputs of the future."""

    def __init__(self, forecaster: Forecaster, horizon: int) -> None:
        super().__init__()
        self.forecaster, self.horizon = forecaster, horizon

    def forward(self, context: Tensor, known: Tensor) -> Tensor:
        forecast: Tensor = self.forecaster(context, self.horizon, known=known)
        return forecast


def test_exported_with_known_inputs_for_any_batch_and_grid() -> None:
    torch.manual_seed(0)
    steps, horizon, to = 2, 3, {"dtype": torch.float64}
    values = {"layers": [3, 3], "cell": {"kernel": 3}, "patch": 2, **to}
    forecaster = stkit.build("predrnn", in_channels=3, out_channels=1, **values).eval()
    free = dict.fromkeys((0, 3, 4), torch.export.Dim.DYNAMIC)

    def case(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        return tensor(7, batch, steps, 3, height, width, **to), tensor(8, batch, horizon, 2, height, width, **to)

    with capturing(), torch.no_grad():
        graph = torch.export.export(Ahead(forecaster, horizon), case(2, 5, 6), dynamic_shapes=(free, free)).module()
        for batch, height, width in ((2, 5, 6), (1, 4, 4), (5, 7, 3)):
            context, known = case(batch, height, width)
            wanted = forecaster(context, horizon, known=known)
            torch.testing.assert_close(graph(context, known), wanted, rtol=0, atol=1e-12)


def test_training_and_streams_are_one_graph_each() -> None:
    """In a process of its own: there is no room in a graph for the checks that these tests put around functions."""
    script = Path(__file__).with_name("whole_graphs.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    INDUCTOR not in os.environ or shutil.which("c++") is None,
    reason=f"machine code takes half a minute to make and needs a C++ compiler: set {INDUCTOR}=1 to have it tested",
)
def test_machine_code_of_a_step_gives_the_same_numbers() -> None:
    class Inductor(CellContract):
        name = "st_lstm"
        config = {"kernel": 3}
        backend = "inductor"

    Inductor().test_compiles()
