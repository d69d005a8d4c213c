from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stkit.plugin.manager import plugins

from ..fake_site import FakeSite


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    """A folder where plugins can be installed for this test alone."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for variable in ("STKIT_PLUGINS", "STKIT_PLUGINS_DISABLE", "STKIT_PLUGINS_STRICT"):
        monkeypatch.delenv(variable, raising=False)
    plugins.cache_clear()
    site = FakeSite(folder)
    yield site
    site.clean_up()


BASE = """\
summary: small
data:
  dataset: {name: sst_ostia}
  input_steps: 3
  horizon: 2
model:
  name: predrnn
  layers: [4, 4]
train:
  steps: 10
  loss: {name: mse}
  sampling: {name: scheduled}
"""


class Recipes:
    """A working directory with recipe files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipes:
    """An empty working directory that has ``base.yaml``, a sound recipe."""
    monkeypatch.chdir(tmp_path)
    made = Recipes(tmp_path)
    made.write("base.yaml", BASE)
    return made
