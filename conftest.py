"""For all tests, those of the plugins too: shapes are checked against their annotations, and one thread computes."""

from __future__ import annotations

import os

import torch
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
    "stkit_predrnn",
]
"""Modules whose annotations beartype holds against what they are called with."""

install_import_hook(CHECKED, "beartype.beartype")
torch.set_num_threads(1)
settings.register_profile("stkit", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("stkit")
