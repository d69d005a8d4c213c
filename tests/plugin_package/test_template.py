"""The package that ``stkit new-plugin`` writes: clean under every name, in the wheel, what the guide shows."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from stkit.plugin import scaffold
from stkit.plugin.scaffold import FILES, TEMPLATE, Names, names_for

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "writing-a-plugin.md"
INCLUDED = re.compile(r"^```\{literalinclude\} (\S+)$(.*?)^```$", re.MULTILINE | re.DOTALL)
LONGEST = "a2345678901234567890123"


def test_under_the_names_of_the_guide_it_is_the_template_itself() -> None:
    written = scaffold.render(Names("convgru", "conv_gru"))
    assert written == {path: (TEMPLATE / path).read_text(encoding="utf-8") for path in FILES}


def test_every_file_of_the_template_is_written() -> None:
    caches = {line.strip("/*") for line in (TEMPLATE / ".gitignore").read_text().splitlines()}
    there = (path.relative_to(TEMPLATE) for path in TEMPLATE.rglob("*") if path.is_file())
    assert {str(path) for path in there if not caches & set(path.parts)} == set(FILES)


def test_other_names_leave_nothing_of_the_template_s() -> None:
    for path, text in scaffold.render(Names("tide_pool", "tidal")).items():
        assert not re.search(r"conv_?gru|stkit[-_]conv", path + text, re.IGNORECASE), path


@pytest.mark.parametrize("names", [("a", "b"), (LONGEST, LONGEST), ("test", "test_cell")], ids="-".join)
def test_it_is_clean_under_any_name(names: tuple[str, str], tmp_path: Path) -> None:
    scaffold.write(tmp_path, scaffold.render(names_for(*names)))
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_asks_for_a_core_that_is_this_one() -> None:
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
    (need,) = map(Requirement, package["dependencies"])
    assert need.name == core["name"]
    assert need.specifier.contains(core["version"])
    assert package["requires-python"] == core["requires-python"]


def test_the_author_chooses_the_licence() -> None:
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
    assert "license" not in project
    assert project["classifiers"] == ["Private :: Do Not Upload"], "indexes refuse it until a licence is chosen"


def test_the_wheel_carries_it(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert [path for path in FILES if f"stkit/plugin/template/{path}" not in inside] == []


def test_the_guide_shows_it() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    shown = {(GUIDE.parent / path).resolve() for path, _ in INCLUDED.findall(text)}
    assert shown == {
        TEMPLATE / path
        for path in (
            "pyproject.toml",
            "stkit_convgru/plugin.py",
            "stkit_convgru/config.py",
            "stkit_convgru/cell.py",
            "stkit_convgru/convgru-sst.yaml",
            "tests/test_contract.py",
        )
    }
    cell = (TEMPLATE / "stkit_convgru" / "cell.py").read_text(encoding="utf-8")
    excerpts = re.findall(r"^:pyobject: ConvGruCell\.(\w+)$", text, re.MULTILINE)
    assert set(excerpts) == set(re.findall(r"^    def (\w+)", cell, re.MULTILINE)), "each method of the cell, once"
    (tree,) = re.findall(r"^```text\nconvgru/\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names = {line.split()[0].rpartition("/")[2] for line in tree.splitlines() if not line.rstrip().endswith("/")}
    assert names <= {Path(path).name for path in FILES}
    assert "stkit new-plugin convgru --cell conv_gru\n" in text
