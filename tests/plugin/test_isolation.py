"""One bad plugin never hides the others, and is told with its name, its distribution and the reason."""

from __future__ import annotations

import logging
import sys

import pytest

from stkit.errors import PluginError
from stkit.plugin.manager import PluginManager

from ..fake_site import FakeSite, cell

RAISING = """
from stkit.api import hookimpl, CellSpec

@hookimpl
def stkit_cells():
    yield CellSpec(name="half", target="a:b", config="a:c")
    raise RuntimeError("boom")
"""

BAD = {
    "broken": (
        "import does_not_exist",
        {},
        "plugin 'broken' (stkit-broken 1.0) was skipped while being imported: "
        "ModuleNotFoundError: No module named 'does_not_exist'",
    ),
    "leaving": (
        "import sys; sys.exit('no licence')",
        {},
        "plugin 'leaving' (stkit-leaving 1.0) was skipped while being imported: SystemExit: no licence",
    ),
    "outdated": (
        cell("outdated"),
        {"requires": ["stkit-torch<0.1"]},
        "plugin 'outdated' (stkit-outdated 1.0) was skipped while its requirements were checked: "
        "RuntimeError: it needs stkit-torch<0.1, this is stkit-torch 0.1.0",
    ),
    "too_new": (
        cell("too_new"),
        {"requires": ["numpy", "stkit_torch>=2,<3; python_version > '3'"]},
        "plugin 'too_new' (stkit-too_new 1.0) was skipped while its requirements were checked: "
        "RuntimeError: it needs stkit-torch<3,>=2, this is stkit-torch 0.1.0",
    ),
    "next_generation": (
        cell("next_generation"),
        {"group": "stkit.plugins.v2"},
        "plugin 'next_generation' (stkit-next_generation 1.0) was skipped while its generation was checked: "
        "RuntimeError: it was written for 'stkit.plugins.v2', this stkit reads 'stkit.plugins.v1'",
    ),
    "unknown_hook": (
        "from stkit.api import hookimpl\n@hookimpl\ndef stkit_holograms(): return []",
        {},
        "plugin 'unknown_hook' (stkit-unknown_hook 1.0) was skipped while its hooks were checked: "
        "PluginValidationError: there is no hook 'stkit_holograms'; it may need a newer stkit",
    ),
    "misspelt": (
        "from stkit.api import hookimpl\n@hookimpl\ndef stkit_cels(): return []",
        {},
        "plugin 'misspelt' (stkit-misspelt 1.0) was skipped while its hooks were checked: "
        "PluginValidationError: there is no hook 'stkit_cels'; did you mean 'stkit_cells'",
    ),
    "wrapping": (
        "import pluggy\n@pluggy.HookimplMarker('stkit')(wrapper=True)\ndef stkit_cells():\n    return (yield)",
        {},
        "plugin 'wrapping' (stkit-wrapping 1.0) was skipped while its hooks were checked: "
        "PluginValidationError: 'stkit_cells' is a wrapper; a hook of stkit cannot be wrapped",
    ),
    "raising": (
        RAISING,
        {},
        "plugin 'raising' (stkit-raising 1.0) was skipped while its hook stkit_cells was asked: RuntimeError: boom",
    ),
    "wrong_type": (
        "from stkit.api import hookimpl\n@hookimpl\ndef stkit_cells(): return ['cell']",
        {},
        "plugin 'wrong_type' (stkit-wrong_type 1.0) was skipped while its hook stkit_cells was asked: "
        "TypeError: expected CellSpec, received str",
    ),
    "bad_name": (
        cell("a/b"),
        {},
        "plugin 'bad_name' (stkit-bad_name 1.0) was skipped while its hook stkit_cells was asked: "
        "ValueError: 'a/b' is no name: letters, digits and . _ + - only",
    ),
    "twice": (
        "from stkit.api import hookimpl, CellSpec\nS = CellSpec(name='s', target='a:b', config='a:c')\n"
        "@hookimpl\ndef stkit_cells(): return [S, S]",
        {},
        "plugin 'twice' (stkit-twice 1.0) was skipped while its hook stkit_cells was asked: "
        "ValueError: the cell 's' is yielded twice",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_is_told_and_the_others_work(site: FakeSite, name: str, caplog: pytest.LogCaptureFixture) -> None:
    code, options, message = BAD[name]
    site.install(name, code, **options)
    site.install("good", cell("good_cell"))
    with caplog.at_level(logging.WARNING, "stkit"):
        manager = site.manager()
        names = [spec.name for spec in manager.specs("cells")]
    assert "good_cell" in names
    assert "st_lstm" in names
    assert not {"half", name, "s"} & set(names)
    told = [str(failure) for failure in manager.failures]
    assert len(told) == 1
    assert told[0].startswith(message)
    assert [record.getMessage() for record in caplog.records] == told, "one warning, once"


def test_a_wrong_signature_is_told(site: FakeSite) -> None:
    site.install("signature", "from stkit.api import hookimpl\n@hookimpl\ndef stkit_cells(nope): return []")
    (failure,) = site.manager().failures
    assert failure.stage == "hooks"
    assert "nope" in failure.reason


def test_all_bad_plugins_at_once(site: FakeSite) -> None:
    for name, (code, options, _) in BAD.items():
        site.install(name, code, **options)
    site.install("good", cell("good_cell"))
    manager = site.manager()
    assert "good_cell" in [spec.name for spec in manager.specs("cells")]
    assert {failure.plugin for failure in manager.failures} == set(BAD)


@pytest.mark.parametrize("name", BAD)
def test_the_strict_switch_raises(site: FakeSite, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_PLUGINS_STRICT", "1")
    code, options, message = BAD[name]
    site.install(name, code, **options)
    with pytest.raises(PluginError) as caught:
        site.manager().specs("cells")
    assert str(caught.value).startswith(message)
    assert caught.value.__cause__ is not None


def test_zero_is_not_strict(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_PLUGINS_STRICT", "0")
    site.install("broken", "1 / 0")
    assert [failure.plugin for failure in site.manager().failures] == ["broken"]


def test_an_optional_hook_of_a_newer_stkit_is_allowed(site: FakeSite) -> None:
    code = "\nimport pluggy\n@pluggy.HookimplMarker('stkit')(optionalhook=True)\ndef stkit_holograms(): return []"
    site.install("modern", "from stkit.api import hookimpl" + code)
    manager = site.manager()
    assert not manager.failures
    assert "modern" in [plugin.name for plugin in manager.loaded]


def test_two_distributions_with_one_plugin_name(site: FakeSite) -> None:
    site.install("mine", cell("one"), distribution="a-dist")
    site.install("mine", cell("two"), distribution="b-dist")
    manager = site.manager()
    assert "one" in manager.names("cells")
    assert "two" not in manager.names("cells")
    assert [str(failure) for failure in manager.failures] == [
        "plugin 'mine' (b-dist 1.0) was skipped while its name was checked: "
        "ValueError: the name is already taken by a-dist 1.0"
    ]


@pytest.mark.parametrize("name", ["predrnn", "stkit"])
def test_a_built_in_name_cannot_be_taken(site: FakeSite, name: str) -> None:
    site.install(name, cell("thief"), distribution="aaa")
    manager = site.manager()
    assert "thief" not in manager.names("cells")
    assert "st_lstm" in manager.names("cells")
    (failure,) = manager.failures
    assert str(failure).endswith("ValueError: the name is already taken by stkit-torch 0.1.0")


def test_one_module_announced_by_two_distributions_is_no_conflict(site: FakeSite) -> None:
    module = site.install("mine", cell("one"), distribution="a-dist")
    site.install("mine", cell("one"), distribution="b-dist", module=module)
    manager = site.manager()
    assert not manager.failures
    assert manager.names("cells").count("one") == 1


def test_the_first_of_two_versions_on_the_path_counts(site: FakeSite, tmp_path, monkeypatch) -> None:
    site.install("mine", cell("new"), module="fake_two_versions", version="2.0")
    other = FakeSite(tmp_path / "older")
    other.folder.mkdir()
    other.install("mine", cell("old"), module="fake_two_versions", version="1.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(other.folder)])
    manager = site.manager()
    assert not manager.failures
    assert "new" in manager.names("cells")


def test_no_plugin_imports_torch_to_be_listed(site: FakeSite) -> None:
    import subprocess

    code = (
        "import sys; from stkit.plugin.manager import *; [plugins().specs(k) for k in KINDS]; print(plugins().failures)"
    )
    out = subprocess.run(
        [sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (out.returncode, out.stdout.strip()) == (0, "[]"), out.stderr


def test_a_manager_without_the_built_in_components() -> None:
    from stkit.plugin.discovery import Found

    manager = PluginManager(Found(), core_version="9", builtin=False)
    assert manager.loaded == ()
    assert manager.specs("cells") == ()
