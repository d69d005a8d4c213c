"""A throw-away third-party plugin, from a folder of its own: the one that the guide in the documentation writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "writing-a-plugin.md"
FILE = re.compile(r"^```\{code-block\} \w+\n:caption: (?P<name>\S+)\n\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

NAMES_THE_CELL = """\
extends: predrnn-sst
model:
  name: null
  cell: {name: conv_gru, kernel: 3}
  layers: [8]
  patch: 4
  head: {name: conv, zero_init: true}
  rollout: {name: next_frame}
train: {batch_size: 2, sampling: {name: none}}
"""


def install(source: Path, site: Path) -> None:
    """What ``pip install`` leaves: the package, and metadata that say what its pyproject says."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    (package,) = (path.parent for path in source.glob("*/__init__.py"))
    (site / package.name).symlink_to(package, target_is_directory=True)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {need}\n" for need in project.get("dependencies", ()))
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{needs}"
    )
    groups = project["entry-points"].items()
    lines = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups)
    (info / "entry_points.txt").write_text("\n".join(lines))


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def files_of_the_guide() -> dict[str, str]:
    return {match["name"].replace("\\", ""): match["text"] for match in FILE.finditer(GUIDE.read_text())}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The plugin's folder, as its author has it."""
    return write(tmp_path / "stkit-convgru", files_of_the_guide())


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where distributions are installed for this test alone."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def call(site: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STKIT_")}
    environment |= {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "CI": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=600
    )


def test_the_guide_has_every_file_of_a_package() -> None:
    assert set(files_of_the_guide()) == {
        "pyproject.toml",
        "stkit_convgru/__init__.py",
        "stkit_convgru/plugin.py",
        "stkit_convgru/config.py",
        "stkit_convgru/cell.py",
        "stkit_convgru/convgru-sst.yaml",
        "tests/test_cell.py",
    }


def test_it_appears_once_it_is_installed(source: Path, site: Path) -> None:
    before = json.loads(call(site, "stkit", "list", "cells", "--json").stdout)
    install(source, site)
    after = json.loads(call(site, "stkit", "list", "cells", "--json").stdout)
    (new,) = [row for row in after["cells"] if row not in before["cells"]]
    assert (new["use"], new["plugin"], new["distribution"]) == ("conv_gru", "convgru", "stkit-convgru 0.1.0")
    shown = json.loads(call(site, "stkit", "plugins", "--json").stdout)
    (plugin,) = [row for row in shown["loaded"] if row["name"] == "convgru"]
    assert plugin["components"] == {"cells": ["conv_gru"], "stacks": ["convgru"], "recipes": ["convgru-sst"]}
    assert shown["failed"] == []


def test_its_recipe_is_sound(source: Path, site: Path) -> None:
    install(source, site)
    done = call(site, "stkit", "validate", "convgru-sst")
    assert (done.returncode, done.stderr) == (0, "")
    wrong = call(site, "stkit", "validate", "convgru-sst", "model.cell.kernal=5")
    assert wrong.returncode == 2
    assert "kernel" in wrong.stderr


def test_a_recipe_that_names_its_cell_trains(source: Path, site: Path, tmp_path: Path) -> None:
    install(source, site)
    recipe, run = tmp_path / "mine.yaml", tmp_path / "run"
    recipe.write_text(NAMES_THE_CELL)
    done = call(site, "stkit", "recipe", str(recipe), "train.steps=2", "--no-eval", "--out", str(run))
    assert done.returncode == 0, done.stderr
    record = json.loads((run / "run.json").read_text())
    assert record["outcome"] == "finished"
    assert "conv_gru" in (run / "recipe.yaml").read_text()


@pytest.mark.slow
def test_its_contract_passes(source: Path, site: Path) -> None:
    install(source, site)
    done = call(site, "pytest", "-q", "-p", "no:cacheprovider", "tests", "-k", "not LargeKernel", cwd=source)
    assert done.returncode == 0, done.stdout
    assert "30 passed" in done.stdout


def test_its_contract_catches_a_heavy_configuration(source: Path, site: Path) -> None:
    config = source / "stkit_convgru" / "config.py"
    config.write_text("import torch\n" + config.read_text())
    install(source, site)
    done = call(site, "pytest", "-q", "-p", "no:cacheprovider", "tests", "-k", "TestConvGRU and light", cwd=source)
    assert done.returncode == 1
    assert "cell 'conv_gru' breaks the rule 'light-config'" in done.stdout
    assert "stkit_convgru.config imports torch" in done.stdout


@pytest.mark.parametrize(
    "fault", ["raise OSError('no libradar')", "import a_package_that_is_not_there", "hookimpl = 1 +"]
)
def test_a_broken_one_beside_it_does_not_hurt(fault: str, source: Path, site: Path, tmp_path: Path) -> None:
    install(source, site)
    broken = files_of_the_guide()
    broken = {name.replace("convgru", "broken"): text.replace("convgru", "broken") for name, text in broken.items()}
    install(write(tmp_path / "broken", {**broken, "stkit_broken/plugin.py": fault}), site)
    done = call(site, "stkit", "list", "cells", "--json")
    assert done.returncode == 0
    assert "conv_gru" in {row["use"] for row in json.loads(done.stdout)["cells"]}
    assert done.stderr.count("broken") >= 1
    assert "Traceback" not in done.stderr
    shown = json.loads(call(site, "stkit", "plugins", "--json").stdout)
    assert [(row["name"], row["distribution"]) for row in shown["failed"]] == [("broken", "stkit-broken 0.1.0")]
