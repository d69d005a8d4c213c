"""Which plugins load, in which order, and which of them a name means."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stkit.errors import AmbiguousComponent, UnknownComponent

from ..fake_site import FakeSite, cell

NORM = """
from stkit.api import ModuleSpec, hookimpl

@hookimpl
def stkit_modules():
    yield ModuleSpec(name="channel", slot="head", target="a:b", config="a:c")
"""


def third_parties(site: FakeSite) -> list[str]:
    return [plugin.name for plugin in site.manager().loaded if not plugin.builtin]


@pytest.fixture
def three(site: FakeSite) -> FakeSite:
    for name in ("one", "two", "three"):
        site.install(name, cell(f"cell_{name}"))
    return site


def test_all_load_by_default(three: FakeSite) -> None:
    assert third_parties(three) == ["one", "three", "two"]


def test_the_allow_list_keeps_other_third_parties_out(three: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_PLUGINS", "two, one")
    assert third_parties(three) == ["one", "two"]
    manager = three.manager()
    assert [(c.name, by) for c, by in manager.excluded] == [("three", "STKIT_PLUGINS")]
    assert "st_lstm" in manager.names("cells"), "built-in plugins are no third parties"


def test_an_empty_allow_list_keeps_all_third_parties_out(three: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_PLUGINS", "")
    assert third_parties(three) == []


def test_a_name_of_the_allow_list_that_is_not_installed_is_told(
    three: FakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STKIT_PLUGINS", "two,four")
    with caplog.at_level(logging.WARNING, "stkit"):
        three.manager()
    assert [r.getMessage() for r in caplog.records] == ["STKIT_PLUGINS names the plugin 'four', which is not installed"]


def test_disabling_works_for_built_in_plugins_too(three: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_PLUGINS_DISABLE", "two,predrnn")
    assert third_parties(three) == ["one", "three"]
    assert "st_lstm" not in three.manager().names("cells")


def test_a_disabled_plugin_is_not_imported(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_PLUGINS_DISABLE", "broken")
    site.install("broken", "1 / 0")
    assert site.manager().failures == []


def test_the_order_does_not_depend_on_the_path(tmp_path: Path) -> None:
    sites = [FakeSite(tmp_path / name) for name in ("first", "second", "third")]
    for place, site in enumerate(sites):
        site.folder.mkdir()
        site.install(f"p{(place * 2) % 3}", cell(f"c{place}"), module=f"fake_order_{place}")
    code = (
        "from stkit.plugin.manager import *; p = plugins(); print([l.name for l in p.loaded], "
        "[s.qualified_name for s in p.specs('cells')])"
    )
    outputs = set()
    for order in (sites, sites[::-1], [sites[1], sites[2], sites[0]]):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(s.folder) for s in order)}
        outputs.add(subprocess.check_output([sys.executable, "-c", code], env=environment, text=True))
    assert len(outputs) == 1
    assert "'p0', 'p1', 'p2'" in outputs.pop()


def test_two_providers_of_a_name_live_side_by_side(site: FakeSite) -> None:
    site.install("mine", cell("same"))
    site.install("yours", cell("same"))
    manager = site.manager()
    assert not manager.failures
    assert manager.resolve("cells", "yours/same").plugin == "yours"
    assert manager.resolve("cells", "mine/same").distribution == "stkit-mine 1.0"
    assert [name for name in manager.names("cells") if "same" in name] == ["mine/same", "yours/same"]
    with pytest.raises(AmbiguousComponent) as caught:
        manager.resolve("cells", "same")
    assert str(caught.value) == (
        "more than one plugin provides the cell 'same'; write one of\n"
        "  mine/same                    from stkit-mine 1.0\n"
        "  yours/same                   from stkit-yours 1.0"
    )
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, LookupError)


def test_a_second_provider_never_takes_a_built_in_name_silently(site: FakeSite) -> None:
    site.install("aaa", cell("st_lstm"))
    manager = site.manager()
    with pytest.raises(AmbiguousComponent, match="predrnn/st_lstm"):
        manager.resolve("cells", "st_lstm")
    assert manager.resolve("cells", "predrnn/st_lstm").plugin == "predrnn"


def test_an_unknown_name_has_its_nearest(site: FakeSite) -> None:
    with pytest.raises(UnknownComponent) as caught:
        site.manager().resolve("cells", "st_lstn")
    assert str(caught.value).startswith("no cell is called 'st_lstn'; did you mean 'st_lstm'")


def test_an_unknown_name_with_nothing_near_lists_what_is_known(site: FakeSite) -> None:
    with pytest.raises(UnknownComponent) as caught:
        site.manager().resolve("losses", "zzz")
    assert str(caught.value).startswith("no loss is called 'zzz'; known: ")
    assert " mse" in str(caught.value)


def test_a_kind_that_nobody_provides(site: FakeSite) -> None:
    with pytest.raises(UnknownComponent, match=r"^no exporter is called 'grib'; no exporter is installed$"):
        site.manager().resolve("exporters", "grib")


def test_an_unknown_name_points_at_the_plugin_that_was_skipped(site: FakeSite) -> None:
    site.install("broken", "1 / 0")
    manager = site.manager()
    with pytest.raises(UnknownComponent, match=r"\n  note: plugin 'broken' \(stkit-broken 1.0\) was skipped"):
        manager.resolve("cells", "broken/cell")
    with pytest.raises(UnknownComponent, match=r"\n  note: a plugin was skipped, see `stkit plugins`"):
        manager.resolve("cells", "zzz")


def test_a_module_is_found_by_its_slot(site: FakeSite) -> None:
    site.install("mine", NORM)
    manager = site.manager()
    assert manager.resolve("modules", "channel", slot="norm").plugin == "stkit"
    assert manager.resolve("modules", "channel", slot="head").plugin == "mine"
    assert "channel" in manager.names("modules", slot="norm"), "another slot's module of the name is no rival"
    with pytest.raises(UnknownComponent) as caught:
        manager.resolve("modules", "pixel", slot="head")
    assert str(caught.value).startswith("the module 'pixel' fits the slot 'norm', not 'head'; known: ")
