from __future__ import annotations

from pathlib import Path

import pytest

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
