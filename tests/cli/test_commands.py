"""Each command that looks at names, recipes and the installation."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stkit.cells.compiled import compiler
from stkit.cells.compiled.compiler import NoCompiler
from stkit.cli.commands.list import TITLES
from stkit.cli.describe import describe_all
from stkit.cli.info_text import as_text
from stkit.cli.main import run
from stkit.errors import RecipeError
from stkit.plugin.manager import KINDS, plugins
from stkit.recipe import load
from stkit.recipe.compose import Composed, compose
from stkit.recipe.loaded import LoadedRecipe, checked
from stkit.recipe.sections.model import ModelConfig

from ..fake_site import FakeSite, cell

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def text(capsys: Capture, *arguments: str, code: int = 0) -> str:
    assert run(arguments) == code
    return capsys.readouterr().out


def data(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    return json.loads(text(capsys, *arguments, "--json", code=code))


def test_list(capsys: Capture) -> None:
    out = text(capsys, "list")
    for shown in ("Recipes and overlays", "predrnn-sst", "Architectures", "st_lstm", "Scores", "rmse", "sst_ostia"):
        assert shown in out
    for kind, title in TITLES.items():
        assert (title in out) == bool(plugins().specs(kind)), "an empty kind is left out"


def test_list_a_kind(capsys: Capture) -> None:
    assert "st_lstm" in text(capsys, "list", "cells")
    assert "predrnn-sst" not in text(capsys, "list", "cells")
    assert text(capsys, "list", "architectures") == text(capsys, "list", "stacks")
    assert "Callbacks" in text(capsys, "list", "callbacks")


def test_list_as_json(capsys: Capture) -> None:
    listed = data(capsys, "list")
    assert set(listed) == set(KINDS) - {"commands", "checks"}
    assert {"conv", "forget"} <= {row["name"] for row in listed["modules"]}
    assert all(row["slot"] for row in listed["modules"])
    (row,) = [row for row in listed["cells"] if row["name"] == "st_lstm"]
    assert row["qualified_name"] == "predrnn/st_lstm"
    assert row["distribution"].startswith("stkit-torch ")
    assert row["summary"]


def test_list_shows_names_as_a_recipe_writes_them(site: FakeSite, capsys: Capture) -> None:
    site.install("mine", cell("st_lstm"))
    listed = data(capsys, "list", "cells")["cells"]
    assert [row["use"] for row in listed if row["name"] == "st_lstm"] == ["predrnn/st_lstm", "mine/st_lstm"]


def test_list_after_installing_a_plugin(site: FakeSite, capsys: Capture) -> None:
    site.install("mine", cell("thrown_away"))
    assert "thrown_away" in text(capsys, "list", "cells")


def test_validate(capsys: Capture) -> None:
    assert text(capsys, "validate", "predrnn-sst").startswith("predrnn-sst: the recipe is sound (hash ")
    found = data(capsys, "validate", "predrnn-sst", "seed=3", "--show")
    assert found["valid"] is True
    assert found["recipe"]["seed"] == 3
    assert len(found["hash"]) == 64
    assert "dry_run" not in found


def test_validate_shows_the_resolved_recipe(capsys: Capture) -> None:
    shown = text(capsys, "validate", "predrnn-sst", "--show")
    Path("all.yaml").write_text(shown)
    assert text(capsys, "validate", "all.yaml", "--show") == shown


def test_validate_tells_problems_as_json(capsys: Capture) -> None:
    Path("bad.yaml").write_text("extends: predrnn-sst\nseed: -1\n")
    found = data(capsys, "validate", "bad.yaml", code=2)
    assert found["valid"] is False
    assert found["problems"] == [
        {"source": "bad.yaml", "line": 2, "column": 7, "path": "seed", "message": "should be at least 0; received -1"}
    ]


def test_validate_counts(capsys: Capture) -> None:
    out = text(capsys, "validate", "predrnn-sst", "--dry-run")
    assert "layer 1 (st_lstm)" in out
    found = data(capsys, "validate", "predrnn-sst", "--dry-run")["dry_run"]
    assert f"parameters  {found['parameters']:,}" in out
    assert found["flops_per_window"] > found["parameters"]
    assert sum(layer["parameters"] for layer in found["layers"]) < found["parameters"]


def test_schema(capsys: Capture) -> None:
    printed = json.loads(text(capsys, "schema"))
    assert printed["title"] == "stkit recipe"
    assert text(capsys, "schema", "-o", "schema.json") == ""
    assert json.loads(Path("schema.json").read_text()) == printed


def test_plugins(site: FakeSite, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_PLUGINS_DISABLE", "unwanted")
    site.install("mine", cell("one"))
    site.install("broken", "1 / 0")
    site.install("raises", "from stkit.api import hookimpl\n@hookimpl\ndef stkit_losses(): raise KeyError('x')")
    site.install("unwanted", cell("two"))
    found = data(capsys, "plugins")
    assert {"stkit", "convlstm", "predrnn", "mine", "raises"} <= {plugin["name"] for plugin in found["loaded"]}
    (mine,) = [plugin for plugin in found["loaded"] if plugin["name"] == "mine"]
    assert mine == {
        "name": "mine",
        "distribution": "stkit-mine 1.0",
        "builtin": False,
        "hooks": ["stkit_cells"],
        "components": {"cells": ["one"]},
    }
    assert [(f["name"], f["stage"]) for f in found["failed"]] == [("broken", "import"), ("raises", "stkit_losses")]
    assert found["excluded"] == [
        {"name": "unwanted", "distribution": "stkit-unwanted 1.0", "by": "STKIT_PLUGINS_DISABLE"}
    ]
    out = text(capsys, "plugins")
    for shown in ("ZeroDivisionError: division by zero", "kept out by STKIT_PLUGINS_DISABLE", "1 cells"):
        assert shown in out


def test_doctor(capsys: Capture, tmp_path: Path) -> None:
    findings = {finding["name"]: finding for finding in data(capsys, "doctor")}
    assert {"stkit", "python", "torch", "processor", "working directory", "plugins", "recipes"} <= set(findings)
    assert str(tmp_path) in findings["working directory"]["message"]
    assert all(finding["state"] in ("ok", "note") for finding in findings.values())
    assert "torch" in text(capsys, "doctor")


def test_doctor_says_where_nothing_can_be_compiled(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "library", lambda: NoCompiler("this machine has no C compiler"))
    found = {finding["name"]: finding for finding in data(capsys, "doctor")}["compiled"]
    assert found["state"] == "note"
    assert found["message"] == "nothing, training on the processor is slower: this machine has no C compiler"


def test_doctor_finds_what_is_wrong(site: FakeSite, capsys: Capture) -> None:
    site.install("broken", "1 / 0")
    code = """
    from stkit.api import CheckSpec, hookimpl

    def bad(): return "the archive is not mounted"
    def good(): return None
    def ugly(): raise RuntimeError("boom")

    @hookimpl
    def stkit_checks():
        for name in ("bad", "good", "ugly"):
            yield CheckSpec(name=name, target=f"{__name__}:{name}", summary="looks")
    """
    site.install("mine", code)
    findings = {finding["name"]: finding for finding in data(capsys, "doctor", code=1)}
    assert findings["plugin broken"]["state"] == "problem"
    assert "ZeroDivisionError" in findings["plugin broken"]["message"]
    assert findings["mine/bad"] == {"name": "mine/bad", "state": "problem", "message": "the archive is not mounted"}
    assert findings["mine/good"]["state"] == "ok"
    assert findings["mine/ugly"]["message"] == "the check itself failed: RuntimeError: boom"
    assert "PROBLEM" in text(capsys, "doctor", code=1)


def test_doctor_goes_on_where_an_examination_breaks(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from stkit.cli.commands import doctor

    def _breaking() -> list[Any]:
        raise OSError("no such device")

    monkeypatch.setattr(doctor, "EXAMINATIONS", (_breaking, *doctor.EXAMINATIONS))
    found = data(capsys, "doctor", code=1)
    assert found[0] == {"name": "breaking", "state": "problem", "message": "OSError: no such device"}
    assert len(found) > 5


def test_cp(capsys: Capture) -> None:
    assert run(["cp", "predrnn-sst"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "to predrnn-sst.yaml\ntry: stkit validate predrnn-sst.yaml\n" in captured.err
    copied = Path("predrnn-sst.yaml").read_text()
    Path("predrnn-sst.yaml").write_text("# mine\n")
    assert run(["cp", "predrnn-sst"]) == 2
    assert capsys.readouterr().err == (
        "error: predrnn-sst.yaml is there already; name another file, or write over it with --force\n"
    )
    assert Path("predrnn-sst.yaml").read_text() == "# mine\n", "nothing that was there is lost"
    assert run(["cp", "predrnn-sst", "--force"]) == 0
    assert Path("predrnn-sst.yaml").read_text() == copied


def test_cp_to_a_folder_and_to_a_name(capsys: Capture) -> None:
    Path("folder").mkdir()
    assert run(["cp", "predrnn-sst", "folder"]) == 0
    assert run(["cp", "predrnn-sst", "other.yaml"]) == 0
    assert Path("folder/predrnn-sst.yaml").read_text() == Path("other.yaml").read_text()
    assert text(capsys, "validate", "other.yaml").startswith("other: the recipe is sound")


@pytest.mark.parametrize("name", ["predrnn-sst", "convlstm-sst", "predrnn-wind"])
def test_a_copy_is_the_recipe(capsys: Capture, name: str) -> None:
    assert run(["cp", name, "copy.yaml"]) == 0
    capsys.readouterr()
    assert data(capsys, "validate", "copy.yaml")["hash"] == data(capsys, "validate", name)["hash"]


def test_runs(capsys: Capture) -> None:
    assert run(["runs"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no runs in runs; `stkit recipe predrnn-sst` makes one\n")
    assert data(capsys, "runs") == []
    folder = Path("runs/predrnn-sst/20260101-000000")
    folder.mkdir(parents=True)
    record = {"name": "predrnn-sst", "outcome": "failed", "reason": "the disk is full", "steps": 9, "step": 4}
    (folder / "run.json").write_text(json.dumps({**record, "started": "2026-01-01T00:00:00Z", "best_loss": 0.25}))
    (found,) = data(capsys, "runs")
    assert (found["name"], found["outcome"], found["path"]) == ("predrnn-sst", "failed", str(folder))
    out = text(capsys, "runs")
    for shown in ("failed: the disk is full", "4/9", "0.25", str(folder)):
        assert shown in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(capsys: Capture, shell: str) -> None:
    out = text(capsys, "completion", shell)
    assert "_STKIT_COMPLETE" in out
    assert "%" not in out.replace("%%", "").replace("%:", "") or shell == "zsh"


def test_the_bash_script_is_bash(capsys: Capture) -> None:
    out = text(capsys, "completion", "bash")
    subprocess.run(["bash", "-n"], input=out, text=True, check=True)


def test_info_of_an_architecture(capsys: Capture) -> None:
    out = text(capsys, "info", "predrnn", "--no-build")
    for shown in (
        "architecture of plugin predrnn",
        "paper: ",
        "code:  ",
        "variant standard (default)",
        "variant paper",
    ):
        assert shown in out
    (found,) = describe_all("predrnn", "stacks", count=False)
    assert found["default_variant"] == "standard"
    assert set(found["variants"]) >= {"standard", "official", "paper"}
    assert all(variant["difference"] for variant in found["variants"].values())
    assert found["variants"]["standard"]["model"]["cell"]["name"] == "st_lstm"
    assert found["paper"]["year"] == 2017
    assert "predrnn-sst" in found["used_by"]
    unbuilt, recipe = data(capsys, "info", "predrnn", "--no-build")
    assert recipe["kind"] == "recipe", "the base recipe has the same name"
    assert unbuilt["verified"] == found["verified"]
    assert "states" not in unbuilt["layers"][0]


@pytest.mark.parametrize(("kind", "name"), [("stacks", "predrnn"), ("cells", "st_lstm")])
def test_info_checks_only_the_recipes_that_name_it(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And these are the ones that use it when all are checked."""
    every = {}
    for spec in plugins().specs("recipes"):
        with contextlib.suppress(RecipeError):  # an overlay
            every[spec.name] = load(spec.qualified_name).recipe.model

    def uses(model: ModelConfig) -> bool:
        own = (
            [model.name]
            if kind == "stacks"
            else [c.name for c in (model.cell, *(layer.cell for layer in model.layers)) if c]
        )
        return name in own

    counted = []
    monkeypatch.setattr("stkit.cli.shipped.checked", lambda composed: (counted.append(composed), checked(composed))[1])
    (found,) = describe_all(name, kind, build=False)
    assert found["used_by"] == [recipe for recipe, model in every.items() if uses(model)]
    assert 0 < len(found["used_by"]) < len(every)
    assert len(found["used_by"]) <= len(counted) < len(every)


@pytest.mark.parametrize("name", ["mse", "rmse"])
def test_info_of_a_loss_or_score_checks_each_recipe_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And builds none: how many parameters there are is no matter of these."""
    checks = Counter[str]()

    def once(composed: Composed) -> LoadedRecipe:
        checks[composed.name] += 1
        return checked(composed)

    monkeypatch.setattr("stkit.cli.shipped.checked", once)
    monkeypatch.setattr("stkit.recipe.dryrun.dry_run", None)
    found = describe_all(name)
    assert any(entry["used_by"] for entry in found)
    assert set(checks.values()) == {1}


def test_info_counts_at_the_shipped_recipes(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    small = "mim-mnist-small"  # to build the published sizes takes a while
    monkeypatch.setattr("stkit.cli.shipped.Shipped._each", lambda _: iter([(small, small, compose(small))]))
    (found,) = data(capsys, "info", "mim_star")
    assert found["used_by"] == []
    assert found["parameters"] == found["flops_per_window"] == {}
    architecture, module, _ = data(capsys, "info", "mim")
    counted = data(capsys, "validate", small, "--dry-run")["dry_run"]
    for entry in (architecture, module):
        for key in ("parameters", "flops_per_window"):
            assert entry[key] == {small: counted[key]}
        (line,) = [line.split() for line in as_text(entry).splitlines() if line.startswith(f"  {small} ")]
        assert line == [small, f"{counted['parameters']:,}", f"{counted['flops_per_window'] / 1e9:,.2f}"]


ARCHITECTURES = ("convlstm", "predrnn", "predrnnpp", "mim", "mim_star", "e3d_lstm")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_info_tells_what_was_verified_against_which_code(capsys: Capture, name: str) -> None:
    (found, *_) = data(capsys, "info", name, "--kind", "stacks", "--no-build")
    assert found["paper"]["reference_code"]
    assert found["variants"].keys() == {key for key, variant in found["variants"].items() if variant["difference"]}
    rows = found["verified"]
    assert {row["shipped"] for row in rows} >= {True}
    assert all(row["tensors"] > 0 and row["largest_error"] <= row["limit"] == 1e-9 for row in rows)
    out = text(capsys, "info", name, "--kind", "stacks", "--no-build")
    for row in rows:
        assert f"verified against numbers of {row['repository']} at {row['commit']}:" in out
        assert f"{row['tensors']} tensors in {row['dtype']}, largest error {row['largest_error']:.1e}, limit" in out


def test_info_tells_the_layers_of_an_architecture(capsys: Capture) -> None:
    (found,) = describe_all("mim", "stacks", count=False)
    bottom, second, third, _ = found["layers"]
    assert (bottom["cell"], bottom["transition"], bottom["states"]) == ("st_lstm", None, ["h", "c"])
    assert second["transition"] == "mim"
    assert {"transition.N", "transition.S", "transition.x"} < set(second["states"])
    assert "transition.x" not in third["states"], "it reads D of the layer below"
    assert second["carries"] == ["D", "m"]
    (module,) = describe_all("mim", "modules", count=False)
    assert {"N", "S", "D", "seen"} <= set(module["states"])


def test_info_of_a_cell(capsys: Capture) -> None:
    (found,) = describe_all("predrnn/st_lstm", "cells", count=False)
    assert found["states"] == ["h", "c"]
    assert found["carries"] == ["m"]
    assert found["slots"] == ["transition"]
    (kernel,) = [field for field in found["fields"] if field["name"] == "kernel"]
    assert kernel == {
        "name": "kernel",
        "type": "whole number",
        "default": "5",
        "doc": "Side of the kernels, in cells.",
    }
    assert "predrnn-sst" in found["used_by"]
    out = text(capsys, "info", "openstl_0_3_conv_lstm")
    assert "states: h\n" in out


def test_info_of_a_recipe(capsys: Capture) -> None:
    (found,) = data(capsys, "info", "predrnn-sst.yaml", "--kind", "recipes")
    assert found["recipe"]["model"]["name"] == "predrnn"
    assert found["parameters"]["predrnn-sst"] > 0
    (overlay,) = data(capsys, "info", "reverse-sampling")
    assert overlay["overlay"] is True
    assert "an overlay" in text(capsys, "info", "reverse-sampling")


def test_info_of_a_name_that_several_kinds_have(capsys: Capture) -> None:
    assert [entry["kind"] for entry in data(capsys, "info", "mse")] == ["loss", "metric"]
    assert [entry["kind"] for entry in data(capsys, "info", "mse", "--kind", "scores")] == ["metric"]


def test_info_of_a_module_names_its_slot(capsys: Capture) -> None:
    (found,) = data(capsys, "info", "conv")
    assert found["slot"] == "head"
    assert "for the slot head" in text(capsys, "info", "conv")
    assert "predrnn-sst" in found["used_by"]


def test_info_of_an_ambiguous_name(site: FakeSite, capsys: Capture) -> None:
    site.install("mine", cell("st_lstm"))
    assert run(["info", "st_lstm"]) == 2
    assert capsys.readouterr().err.startswith("error: more than one plugin provides the cell 'st_lstm'; write one of\n")


def everything() -> list[tuple[str, str]]:
    kinds = ("stacks", "cells", "modules", "losses", "metrics", "datasets", "recipes")
    return [(kind, spec.qualified_name) for kind in kinds for spec in plugins().specs(kind)]


@pytest.mark.parametrize(("kind", "name"), everything())
def test_info_works_for_everything_that_is_listed(capsys: Capture, kind: str, name: str) -> None:
    out = text(capsys, "info", name, "--kind", kind, "--no-build")
    assert out.startswith(f"{name.partition('/')[2]}: ")


def test_json_is_all_there_is_on_stdout(site: FakeSite) -> None:
    for arguments in (["list"], ["plugins"], ["info", "predrnn", "--no-build"], ["validate", "predrnn-sst"], ["runs"]):
        out = subprocess.run(
            [sys.executable, "-m", "stkit", *arguments, "--json"], capture_output=True, text=True, check=True
        )
        json.loads(out.stdout)
