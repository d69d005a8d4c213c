"""Files to import, and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from stkit.cli.main import run

from .openstl_models import parameters

Told = tuple[int, str, str]


@pytest.fixture(autouse=True)
def _process_left_as_it_was() -> Iterator[None]:
    """Commands that train or score set up the whole process: Accelerate's state, and denormal numbers."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_flush_denormal(False)


@pytest.fixture
def stkit_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """``stkit_command("import", ...)``: exit code, what it printed, what it told on stderr."""

    def call(*arguments: Any) -> Told:
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def predrnn_file(tmp_path: Path) -> Path:
    """PredRNN as OpenSTL saves it, without norms: it fits any grid."""
    torch.save(parameters("PredRNN"), tmp_path / "predrnn.pth")
    return tmp_path / "predrnn.pth"
