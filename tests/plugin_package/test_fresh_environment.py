"""What a new author does, in an environment of its own: the command, pip, the package's tests, its recipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

PLUGIN, CELL, RECIPE = "tide_pool", "tidal", "tide-pool-sst"


class Environment:
    """A virtual environment that sees what is installed here, too: torch is gigabytes, and there is no network."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        (own,) = self("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.splitlines()
        here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        # addsitedir reads the .pth files there, which a plain line would not: stkit may be an editable install itself.
        lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in here)
        (Path(own) / "installed_here.pth").write_text(lines)

    def __call__(self, *arguments: str, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run Python in it, and require the exit code."""
        ours = ("STKIT_", "PYTHON", "PIP_", "PYTEST_", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment |= {"OMP_NUM_THREADS": "1", "CI": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(
            [str(self.python), *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def pip(self, *arguments: str) -> None:
        """pip, without a network."""
        self("-m", "pip", *arguments)

    def stkit(self, *arguments: str, cwd: Path | None = None) -> Any:
        """The JSON that a command prints."""
        return json.loads(self("-m", "stkit", *arguments, "--json", cwd=cwd).stdout)

    def cells(self) -> dict[str, str]:
        """Every cell and the distribution that brings it."""
        return {row["use"]: row["distribution"] for row in self.stkit("list", "cells")["cells"]}


@pytest.mark.slow
def test_a_new_package_is_a_distribution_that_works(tmp_path: Path) -> None:
    python = Environment(tmp_path / "environment")
    before = python.cells()
    assert "st_lstm" in before

    told = python.stkit("new-plugin", "tide-pool", "--cell", CELL, cwd=tmp_path)
    folder = tmp_path / told["folder"]
    python.pip("install", "--no-build-isolation", "--no-deps", "--no-index", str(folder))
    # From here on only what was installed can be found.
    shutil.rmtree(folder / told["package"])

    shown = python.stkit("plugins")
    assert shown["failed"] == []
    (plugin,) = [row for row in shown["loaded"] if row["name"] == PLUGIN]
    assert plugin["distribution"] == "stkit-tide-pool 0.1.0"
    assert plugin["components"] == {"cells": [CELL], "stacks": [PLUGIN], "recipes": [RECIPE]}
    assert python.cells() == {**before, CELL: "stkit-tide-pool 0.1.0"}
    taken = python("-m", "stkit", "new-plugin", "tide-pool", cwd=tmp_path / "environment", code=2)
    assert taken.stderr == "error: the plugin 'tide_pool' is installed (stkit-tide-pool 0.1.0); choose another name\n"

    tested = python("-m", "pytest", "-p", "no:cacheprovider", cwd=folder)
    assert " passed" in tested.stdout

    run = tmp_path / "run"
    python("-m", "stkit", "recipe", RECIPE, "train.steps=2", "--no-eval", "--out", str(run), cwd=tmp_path)
    record = json.loads((run / "run.json").read_text())
    assert (record["outcome"], record["step"]) == ("finished", 2)
    assert f"name: {CELL}" in (run / "recipe.yaml").read_text()

    python.pip("uninstall", "--yes", "stkit-tide-pool")
    assert python.cells() == before
    gone = python("-m", "stkit", "validate", RECIPE, code=2)
    assert gone.stderr.startswith(f"error: no recipe is called '{RECIPE}'")
