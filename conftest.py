"""For all tests, those of the plugins too: shapes are checked against their annotations, and one thread computes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import settings
from jaxtyping import install_import_hook

CHECKED = [
    "stkit.cells",
    "stkit.data",
    "stkit.evaluate.baselines",
    "stkit.evaluate.climatology",
    "stkit.modules",
    "stkit.stacks",
    "stkit_convlstm",
    "stkit_e3d_lstm",
    "stkit_mim",
    "stkit_predrnn",
    "stkit_predrnnpp",
]
"""Modules whose annotations beartype holds against what they are called with."""

install_import_hook(CHECKED, "beartype.beartype")
torch.set_num_threads(1)
settings.register_profile("stkit", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("stkit")


@pytest.fixture(autouse=True)
def _process_left_as_it_was() -> Iterator[None]:
    """Commands that train or score set up the whole process: Accelerate's state, and denormal numbers."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_flush_denormal(False)
