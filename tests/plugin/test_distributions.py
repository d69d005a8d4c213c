"""One distribution carries the plugins, and each plugin's folder also builds alone: the two say the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
GROUP = "stkit.plugins.v1"


def read(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_plugin_alone_is_the_plugin_in_the_whole(folder: Path) -> None:
    whole, alone = read(ROOT), read(folder)
    project = alone["project"]
    assert project["name"] == folder.name
    assert project["license"] == whole["project"]["license"]
    assert project["requires-python"] == whole["project"]["requires-python"]
    assert any(need.startswith("stkit-torch") for need in project["dependencies"])
    entries = project["entry-points"][GROUP]
    assert entries.items() <= whole["project"]["entry-points"][GROUP].items()
    (package,) = alone["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert f"plugins/{folder.name}/{package}" in whole["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert f"plugins/{folder.name}" in whole["tool"]["hatch"]["build"]["dev-mode-dirs"]
    assert all(target.partition(".")[0] == package for target in entries.values())


def test_the_whole_carries_every_plugin() -> None:
    entries = read(ROOT)["project"]["entry-points"][GROUP]
    assert entries == {
        name: target for folder in FOLDERS for name, target in read(folder)["project"]["entry-points"][GROUP].items()
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_plugin_folder_is_a_template(folder: Path) -> None:
    (package,) = folder.glob("stkit_*")
    for name in ("README.md", "pyproject.toml", "tests", f"{package.name}/plugin.py", f"{package.name}/config.py"):
        assert (folder / name).exists(), f"{folder.name} lacks {name}"
