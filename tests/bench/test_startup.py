"""A training starts without the libraries that it does not use."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stkit.recipe.yaml import dump
from stkit.starting import starting

SCORES_AND_FIGURES = ("torchmetrics", "matplotlib", "scipy", "statsmodels", "timm", "torchvision", "huggingface_hub")
DATA = ("xarray", "pandas", "h5netcdf", "h5py", "dask", "zarr")
TRAINING = ("accelerate", "torch._dynamo", "torch.distributed.fsdp", "sympy", "triton")

TRAINED = """
import sys
from stkit.bench.startup import main
assert main([sys.argv[1]]) == 0
print([name for name in {named!r} if name in sys.modules])
"""
BUILT = """
import sys
import torch, stkit
model = stkit.build("predrnn", layers=[4], variant="standard")
model(torch.rand(1, 3, 1, 16, 16), 2).sum().backward()
print([name for name in {named!r} if name in sys.modules])
"""


def imported(code: str, named: tuple[str, ...], *arguments: str) -> str:
    command = [sys.executable, "-c", code.format(named=named), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def test_a_recipe_trains_without_what_is_for_scores_and_figures(values: dict[str, Any], tmp_path: Path) -> None:
    """A plain one: data in NetCDF, averaged weights, an optimiser as in the shipped recipes."""
    values["train"] |= {"ema_decay": 0.9, "optimiser": {"name": "adamw", "weight_decay": 0.01}}
    path = tmp_path / "small.yaml"
    path.write_text(dump(values))
    assert imported(TRAINED, ("torch", *SCORES_AND_FIGURES), str(path)) == "['torch']"


def test_a_model_is_built_and_run_without_what_is_for_data_and_training() -> None:
    assert imported(BUILT, ("torch", *SCORES_AND_FIGURES, *DATA, *TRAINING)) == "['torch']"


def search(on: bool) -> None:
    (gc.enable if on else gc.disable)()


@pytest.fixture(params=[True, False])
def searching(request: pytest.FixtureRequest) -> Iterator[bool]:
    was = gc.isenabled()
    search(request.param)
    yield request.param
    search(was)


def test_garbage_is_searched_for_again_after_the_start(searching: bool) -> None:
    with starting():
        with starting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() == searching


def test_garbage_is_searched_for_again_after_a_start_that_fails(searching: bool) -> None:
    with pytest.raises(KeyError), starting():
        raise KeyError
    assert gc.isenabled() == searching
