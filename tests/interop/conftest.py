"""Files to import, and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stkit.cli.main import run

from .openstl_models import parameters

Told = tuple[int, str, str]


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
