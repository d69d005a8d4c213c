"""``stkit new-plugin``: what it writes, what it says, and the names that it refuses."""

from __future__ import annotations

import ast
import io
import json
import keyword
import re
import tempfile
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stkit.cli.main import run
from stkit.plugin.discovery import GROUP
from stkit.plugin.scaffold import FILES, Names

from ..fake_site import FakeSite, cell

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_names_of_a_package() -> None:
    names = Names("tide_pool", "tidal_lstm_cell")
    assert (names.distribution, names.package, names.recipe) == ("stkit-tide-pool", "stkit_tide_pool", "tide-pool-sst")
    assert names.put_into("ConvGruCell ConvGruConfig") == "TidalLstmCell TidalLstmConfig"
    assert names.put_into("stkit_convgru.cell convgru/conv_gru") == "stkit_tide_pool.cell tide_pool/tidal_lstm_cell"


def test_it_writes_lists_and_says_what_is_next(here: Path, capsys: Capture) -> None:
    assert run(["new-plugin", "tide-pool", "--cell", "tidal"]) == 0
    listed, following = capsys.readouterr()
    written = files_in(here / "tide-pool")
    assert len(written) == len(FILES)
    assert [path for path in written if path not in listed] == []
    assert "Wrote tide-pool" in listed
    assert "REPLACED" not in listed
    for line in ("cd tide-pool", "pip install -e '.[test]'", "stkit info tidal", "stkit recipe tide-pool-sst"):
        assert f"  {line}\n" in following
    assert "stkit_tide_pool/cell.py" in following
    assert "No licence was chosen" in following


def test_the_cell_has_the_plugins_name_unless_told(here: Path, capsys: Capture) -> None:
    assert run(["new-plugin", "stkit-Tide_Pool", "--out", "my folder", "--json"]) == 0
    listed, following = capsys.readouterr()
    told = json.loads(listed)
    assert following == ""
    assert told["written"] is True
    assert {key: told[key] for key in ("plugin", "cell", "distribution", "package", "recipe", "folder")} == {
        "plugin": "tide_pool",
        "cell": "tide_pool",
        "distribution": "stkit-tide-pool",
        "package": "stkit_tide_pool",
        "recipe": "tide-pool-sst",
        "folder": "my folder",
    }
    assert {row["path"] for row in told["files"]} == files_in(here / "my folder")
    assert all(row["about"] and not row["replaced"] for row in told["files"])


def test_a_dry_run_lists_and_writes_nothing(here: Path, capsys: Capture) -> None:
    assert run(["new-plugin", "tide", "--dry-run"]) == 0
    listed, following = capsys.readouterr()
    assert "Would write tide" in listed
    assert "stkit_tide/cell.py" in listed
    assert following == ""
    assert list(here.iterdir()) == []


def test_it_writes_into_an_empty_folder(here: Path) -> None:
    assert run(["new-plugin", "tide", "--out", "."]) == 0
    assert len(files_in(here)) == len(FILES)


def test_nothing_is_replaced_without_being_asked_and_told(here: Path, capsys: Capture) -> None:
    folder, outside = here / "tide", here / "outside.txt"
    folder.mkdir()
    outside.write_text("theirs")
    (folder / "README.md").write_text("mine")
    (folder / "notes.txt").write_text("notes")
    (folder / ".gitignore").symlink_to(outside)
    assert run(["new-plugin", "tide"]) == 2
    assert capsys.readouterr().err == (
        "error: tide is there already and is not empty; choose another folder with --out, or let --force write into it "
        "(what it replaces is listed)\n"
    )
    assert files_in(folder) == {"README.md", "notes.txt", ".gitignore"}
    assert (folder / "README.md").read_text() == "mine"

    assert run(["new-plugin", "tide", "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["path"] for row in told["files"] if row["replaced"]} == {"README.md", ".gitignore"}
    assert (folder / "README.md").read_text() != "mine"
    assert (folder / "notes.txt").read_text() == "notes"
    assert outside.read_text() == "theirs", "a link is replaced, not what it leads to"
    assert run(["new-plugin", "tide", "--force", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("(REPLACED)") == len(FILES)


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_way(out: str, here: Path, capsys: Capture) -> None:
    (here / "file").write_text("mine")
    for force in ([], ["--force"]):
        assert run(["new-plugin", "tide", "--out", out, *force]) == 2
        assert capsys.readouterr().err == f"error: {out} cannot be written: Not a directory\n"
    assert (here / "file").read_text() == "mine"


def test_a_folder_where_a_file_belongs(here: Path, capsys: Capture) -> None:
    (here / "tide" / "pyproject.toml").mkdir(parents=True)
    assert run(["new-plugin", "tide", "--force"]) == 2
    assert capsys.readouterr().err.startswith("error: tide/pyproject.toml cannot be written: ")


NO_NAME = "is no name for a plugin: letters a to z, digits, and single - or _ between them, a letter first"
REFUSED = {
    ("",): "a plugin needs a name, such as my-idea",
    (" ",): "a plugin needs a name, such as my-idea",
    ("tide", "--cell", ""): "a cell needs a name, such as my-idea",
    ("../tide",): f"'../tide' {NO_NAME}; did you mean 'tide'?",
    ("a\\b",): f"'a\\\\b' {NO_NAME}; did you mean 'a-b'?",
    ("Müsli Zelle",): f"'Müsli Zelle' {NO_NAME}; did you mean 'musli-zelle'?",
    ("潮",): f"'潮' {NO_NAME}",
    ("3d-tide",): f"'3d-tide' {NO_NAME}",
    ("stkit-",): f"'stkit-' {NO_NAME}",
    ("a" * 24,): f"'{'a' * 24}' is too long for a plugin: 24 characters, at most 23",
    ("lambda",): "'lambda' is no name for a plugin: Python or YAML reads the word as its own",
    ("None",): "'None' is no name for a plugin: Python or YAML reads the word as its own",
    ("tide", "--cell", "null"): "'null' is no name for a cell: Python or YAML reads the word as its own",
    ("cell",): "'cell' is no name for a cell, stkit's own base class has it; choose another with --cell",
    ("tide", "--cell", "st lstm"): "'st lstm' is no name for a cell: letters a to z, digits, and single - or _ between "
    "them, a letter first; did you mean 'st-lstm'?",
    ("stkit",): "the plugin 'stkit' is stkit itself; choose another name",
    ("torch",): "the distribution stkit-torch {core} is installed; choose another name than 'torch'",
    ("Mim",): "the plugin 'mim' is installed (stkit-torch {core}); choose another name",
    ("predrnnpp",): "the plugin 'predrnnpp' is installed (stkit-torch {core}); choose another name",
    ("mim-star",): "the architecture 'mim_star' is that of stkit-torch {core}; choose another name for the plugin",
    ("tide", "--cell", "st-lstm"): "the cell 'st_lstm' is that of stkit-torch {core}; choose another with --cell",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_cannot_be_a_name_is_one_message(arguments: tuple[str, ...], here: Path, capsys: Capture) -> None:
    from importlib.metadata import version

    assert run(["new-plugin", *arguments]) == 2
    assert capsys.readouterr() == ("", f"error: {REFUSED[arguments].replace('{core}', version('stkit-torch'))}\n")
    assert list(here.iterdir()) == []


def test_names_of_installed_third_parties_are_taken(site: FakeSite, capsys: Capture) -> None:
    site.install("tide", cell("tidal"))
    site.install("broken", "1 / 0")
    for arguments, said in (
        (["tide"], "the plugin 'tide' is installed (stkit-tide 1.0); choose another name"),
        (["broken"], "the plugin 'broken' is installed (stkit-broken 1.0); choose another name"),
        (["wave", "--cell", "tidal"], "the cell 'tidal' is that of stkit-tide 1.0; choose another with --cell"),
    ):
        assert run(["new-plugin", *arguments, "--dry-run"]) == 2
        assert f"error: {said}\n" in capsys.readouterr().err
    assert run(["new-plugin", "tides", "--dry-run"]) == 0


WORDS = st.sampled_from([*keyword.kwlist, *keyword.softkwlist, "null", "yes", "nan", "test", "stkit", "self", "cell"])
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.text("aZ09-_./\\ +$", max_size=26),
    st.from_regex(r"(stkit[-_])?[a-zA-Z][a-z0-9]{0,8}([-_][a-z0-9]{1,8})?", fullmatch=True),
    WORDS,
)


@settings(max_examples=80, deadline=None)
@given(name=NAMES, other=st.none() | NAMES)
@example(name="test", other=None)
@example(name="stkit-x", other="x_cell")
@example(name="\ud800", other=None)
def test_any_name_is_written_well_or_refused(name: str, other: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, told, said = Path(folder) / "out", io.StringIO(), io.StringIO()
        option = [] if other is None else [f"--cell={other}"]
        with redirect_stdout(told), redirect_stderr(said):
            code = run(["new-plugin", "--out", str(out), "--json", *option, "--", name])
        if code:
            assert code == 2
            assert not out.exists()
            assert said.getvalue().startswith("error: ")
            assert said.getvalue().count("\n") == 1
            return
        names = json.loads(told.getvalue())
        assert all(text.isidentifier() and text.isascii() for text in (names["plugin"], names["cell"]))
        written = {path: (out / path).read_text(encoding="utf-8") for path in files_in(out)}
        assert written.keys() == {row["path"] for row in names["files"]}

        project = tomllib.loads(written["pyproject.toml"])["project"]
        assert project["name"] == names["distribution"]
        assert project["entry-points"][GROUP] == {names["plugin"]: f"{names['package']}.plugin"}
        for path, text in written.items():
            if path.endswith(".py"):
                ast.parse(text, path)
        (made,) = re.findall(r"^class (\w+)\(Cell\):", written[f"{names['package']}/cell.py"], re.MULTILINE)
        assert f'target="{names["package"]}.cell:{made}"' in written[f"{names['package']}/plugin.py"]
        recipe = YAML(typ="safe", pure=True).load(written[f"{names['package']}/{names['recipe']}.yaml"])
        assert recipe["model"]["name"] == names["plugin"]
