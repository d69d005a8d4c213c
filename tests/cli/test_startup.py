"""What needs no model imports none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from stkit.cli.group import module_of
from stkit.cli.main import SUMMARIES

HEAVY = ("torch", "timm", "accelerate", "xarray", "matplotlib", "torchmetrics", "torchvision", "numpy", "h5netcdf")

LIGHT = [
    [],
    ["--help"],
    ["--version"],
    ["list"],
    ["list", "--json"],
    ["validate", "predrnn-sst"],
    ["validate", "predrnn-sst", "--show"],
    ["validate", "no-such-recipe"],
    ["schema"],
    ["plugins"],
    ["info", "predrnn", "--no-build"],
    ["info", "st_lstm", "--no-build"],
    ["info", "predrnn-sst", "--no-build"],
    ["info", "mse"],
    ["info", "rmse"],
    ["info", "recall", "--no-build"],
    ["runs"],
    ["completion", "bash"],
    ["new-plugin", "my-idea", "--dry-run"],
    ["no-such-command"],
    *([name, "--help"] for name in SUMMARIES),
]

CODE = """
import sys
from stkit.cli.main import run
run(sys.argv[1:])
print("\\nHEAVY", [name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_no_heavy_library_is_imported(arguments: list[str]) -> None:
    code = CODE.format(heavy=HEAVY)
    out = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert out.stdout.strip().splitlines()[-1] == "HEAVY []", out.stdout[-500:] + out.stderr


@pytest.mark.parametrize(
    "arguments", [["list"], ["validate", "predrnn-sst"], ["info", "predrnn", "--no-build"]], ids=" ".join
)
def test_no_source_is_read_where_no_field_is_described(arguments: list[str]) -> None:
    code = "import linecache, sys\nfrom stkit.cli.main import run\nrun(sys.argv[1:])\nprint(list(linecache.cache))"
    out = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_completion_imports_none_either() -> None:
    environment = {"_STKIT_COMPLETE": "bash_complete", "COMP_WORDS": "stkit recipe predrnn-s", "COMP_CWORD": "2"}
    code = "import sys\nfrom stkit.cli.main import run\ntry: run([])\nexcept SystemExit: pass\n"
    code += f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "plain,predrnn-sst" in out.stdout.splitlines()
    assert out.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_static_map_is_in_step_with_the_modules(name: str) -> None:
    command = import_module(module_of(name)).command
    assert command.help
    assert "Example" in command.help, "every help has an example"
    assert f"stkit {name}" in command.help
