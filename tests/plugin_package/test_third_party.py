"""A third-party plugin, from a folder of its own: the one that ``stkit new-plugin`` writes and the guide shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from stkit.plugin import scaffold
from stkit.plugin.scaffold import Names

FILES = scaffold.render(Names("convgru", "conv_gru"))


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
    scaffold.write(folder, files)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The plugin's folder, as its author has it."""
    return write(tmp_path / "convgru", FILES)


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


def test_a_wrong_key_of_its_configuration_is_told(source: Path, site: Path) -> None:
    install(source, site)
    wrong = call(site, "stkit", "validate", "convgru-sst", "model.cell.kernal=5")
    assert wrong.returncode == 2
    assert "did you mean 'kernel'?" in wrong.stderr


def test_its_tests_catch_a_heavy_configuration_and_wrong_equations(source: Path, site: Path) -> None:
    config, cell = source / "stkit_convgru" / "config.py", source / "stkit_convgru" / "cell.py"
    config.write_text(config.read_text().replace("from pydantic", "import torch\nfrom pydantic"))
    right = cell.read_text()
    cell.write_text(right.replace("(1 - z) * h + z * n", "(1 - z) * n + z * h"))
    assert cell.read_text() != right
    install(source, site)
    chosen = "TestConvGruCell and light or equations"
    done = call(site, "pytest", "-q", "-p", "no:cacheprovider", "tests", "-k", chosen, cwd=source)
    assert done.returncode == 1
    assert "2 failed" in done.stdout
    assert "cell 'conv_gru' breaks the rule 'light-config'" in done.stdout
    assert "stkit_convgru.config imports torch" in done.stdout
    assert "Not equal to tolerance" in done.stdout


@pytest.mark.parametrize(
    "fault", ["raise OSError('no libradar')", "import a_package_that_is_not_there", "hookimpl = 1 +"]
)
def test_a_broken_one_beside_it_does_not_hurt(fault: str, source: Path, site: Path, tmp_path: Path) -> None:
    install(source, site)
    broken = scaffold.render(Names("broken", "broken"))
    install(write(tmp_path / "broken", {**broken, "stkit_broken/plugin.py": fault}), site)
    done = call(site, "stkit", "list", "cells", "--json")
    assert done.returncode == 0
    assert "conv_gru" in {row["use"] for row in json.loads(done.stdout)["cells"]}
    assert done.stderr.count("broken") >= 1
    assert "Traceback" not in done.stderr
    shown = json.loads(call(site, "stkit", "plugins", "--json").stdout)
    assert [(row["name"], row["distribution"]) for row in shown["failed"]] == [("broken", "stkit-broken 0.1.0")]
