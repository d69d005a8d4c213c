"""Every hook works, is documented with an example that runs, and has its test."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from pathlib import Path

import pytest

from stkit.api import CellSpec
from stkit.plugin import hookspecs
from stkit.plugin.hookspecs import Hooks
from stkit.plugin.manager import KINDS

from ..fake_site import FakeSite

HOOKS = sorted(name for name in vars(Hooks) if name.startswith("stkit_"))


def example_of(hook: str) -> str:
    """The code block of a hook's documentation."""
    doc = inspect.getdoc(getattr(Hooks, hook)) or ""
    match = re.search(r"Example::\n\n((?:    .*\n|\n)+?)(?=\n?\S|\Z)", doc + "\n")
    assert match, f"{hook} has no example"
    return textwrap.dedent(match[1])


def check_example(site: FakeSite, hook: str) -> list[str]:
    """Install the documented example as a plugin and return the names it brings."""
    site.install("mine", example_of(hook))
    manager = site.manager()
    assert not manager.failures
    (mine,) = [plugin for plugin in manager.loaded if plugin.name == "mine"]
    assert mine.hooks == (hook,)
    found = [spec for spec in manager.specs(hook.removeprefix("stkit_")) if spec.plugin == "mine"]
    assert all(spec.distribution == "stkit-mine 1.0" for spec in found)
    assert all(spec.qualified_name == f"mine/{spec.name}" for spec in found)
    return [spec.name for spec in found]


def test_stkit_cells(site: FakeSite) -> None:
    assert check_example(site, "stkit_cells") == ["my_lstm"]


def test_stkit_stacks(site: FakeSite) -> None:
    assert check_example(site, "stkit_stacks") == ["my_net"]


def test_stkit_modules(site: FakeSite) -> None:
    assert check_example(site, "stkit_modules") == ["leaky"]


def test_stkit_losses(site: FakeSite) -> None:
    assert check_example(site, "stkit_losses") == ["my_loss"]


def test_stkit_metrics(site: FakeSite) -> None:
    assert check_example(site, "stkit_metrics") == ["gss"]


def test_stkit_baselines(site: FakeSite) -> None:
    assert check_example(site, "stkit_baselines") == ["last_year"]


def test_stkit_datasets(site: FakeSite) -> None:
    assert check_example(site, "stkit_datasets") == ["my_radar"]


def test_stkit_callbacks(site: FakeSite) -> None:
    assert check_example(site, "stkit_callbacks") == ["alarm"]


def test_stkit_exporters(site: FakeSite) -> None:
    assert check_example(site, "stkit_exporters") == ["grib"]


def test_stkit_recipes(site: FakeSite) -> None:
    assert check_example(site, "stkit_recipes") == ["my-net-sst"]


def test_stkit_commands(site: FakeSite) -> None:
    assert check_example(site, "stkit_commands") == ["nowcast"]


def test_stkit_checks(site: FakeSite) -> None:
    assert check_example(site, "stkit_checks") == ["radar-archive"]


def test_stkit_resolve_recipe(site: FakeSite) -> None:
    site.file("archive/sst-2024.yaml", "summary: from the archive\n")
    code = example_of("stkit_resolve_recipe").replace("ARCHIVE", repr(site.folder / "archive").replace("Posix", ""))
    site.install("lab", "from pathlib import Path\n" + code)
    site.install("raises", "from stkit.api import hookimpl\n@hookimpl\ndef stkit_resolve_recipe(ref): 1 / 0")
    site.install("numbers", "from stkit.api import hookimpl\n@hookimpl\ndef stkit_resolve_recipe(ref): return 1")
    manager = site.manager()
    assert manager.resolve_recipe("lab:sst-2024") == ("summary: from the archive\n", "lab")
    assert manager.resolve_recipe("other:sst") is None
    assert {(f.plugin, f.stage) for f in manager.failures} == {
        ("raises", "stkit_resolve_recipe"),
        ("numbers", "stkit_resolve_recipe"),
    }


def test_every_hook_has_a_test_named_after_it() -> None:
    assert {f"test_{hook}" for hook in HOOKS} <= set(globals())


def test_every_kind_has_a_hook_and_every_hook_a_kind() -> None:
    assert {f"stkit_{kind}" for kind in KINDS} | {"stkit_resolve_recipe"} == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str) -> None:
    doc = inspect.getdoc(getattr(Hooks, hook)) or ""
    assert doc.splitlines()[0].endswith(".")
    assert "hookimpl" in example_of(hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_specification_itself_is_never_called(hook: str) -> None:
    arguments = ["ref"] if hook == "stkit_resolve_recipe" else []
    with pytest.raises(AssertionError, match="a specification is never called"):
        getattr(Hooks(), hook)(*arguments)


def test_specs_are_frozen_data() -> None:
    spec = CellSpec(name="a", target="b:c", config="d:e")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "b"  # type: ignore[misc]


def test_an_import_string_needs_a_colon() -> None:
    with pytest.raises(ValueError, match=r"expected '<module>:<attribute>', got 'module.attribute'"):
        CellSpec(name="a", target="module.attribute", config="d:e").load_target()


def test_a_plugin_may_be_an_object(site: FakeSite) -> None:
    code = """
    from stkit.api import CellSpec, hookimpl

    class Plugin:
        @hookimpl
        def stkit_cells(self):
            return [CellSpec(name="from_object", target="a:b", config="c:d")]

    plugin = Plugin()
    """
    module = site.install("object", code, entries={"object": "fake_object_0:plugin"})
    assert module == "fake_object_0"
    assert "from_object" in site.manager().names("cells")


def test_the_public_interface_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, stkit, stkit.api, stkit.plugin.hookspecs; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_hook_specifications_are_what_the_api_exports() -> None:
    from stkit import api

    assert api.hookimpl is hookspecs.hookimpl
    assert set(api.__all__) <= set(dir(api))
    assert Path(hookspecs.__file__).exists()
