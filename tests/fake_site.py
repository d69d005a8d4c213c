"""Plugins that are installed for one test: a module and its metadata in a folder on ``sys.path``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from stkit.plugin.discovery import GROUP
from stkit.plugin.manager import PluginManager, plugins


class FakeSite:
    """A folder of installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def install(
        self,
        name: str,
        code: str = "",
        *,
        module: str | None = None,
        distribution: str | None = None,
        version: str = "1.0",
        requires: Iterable[str] = (),
        group: str = GROUP,
        entries: Mapping[str, str] | None = None,
    ) -> str:
        """Install the plugin ``name`` and return its module's name."""
        module = module or f"fake_{name}_{len(self.modules)}"
        (self.folder / f"{module}.py").write_text(textwrap.dedent(code))
        self.modules.append(module)
        distribution = distribution or f"stkit-{name}"
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires), ""]))
        listed = "".join(f"{k} = {v}\n" for k, v in (entries or {name: module}).items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{listed}")
        return module

    def file(self, name: str, text: str) -> Path:
        """A further file beside the modules."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def manager(self) -> PluginManager:
        """A manager of its own that sees the site and what is really installed."""
        return PluginManager()

    def clean_up(self) -> None:
        """Forget the modules, and the process's manager that may have seen them."""
        for module in self.modules:
            sys.modules.pop(module, None)
        plugins.cache_clear()


def cell(name: str) -> str:
    """Code of a plugin with one cell."""
    return f"""
    from stkit.api import CellSpec, hookimpl

    @hookimpl
    def stkit_cells():
        yield CellSpec(name={name!r}, target="nowhere:Cell", config="nowhere:Config", summary="a fake")
    """
