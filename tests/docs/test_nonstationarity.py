"""What the page on fields that are not stationary shows works."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
import torch

from tests.docs.pages import DOCS, python_blocks

PAGE = DOCS / "guides" / "non-stationarity.md"


@pytest.fixture(scope="module")
def figure() -> ModuleType:
    path = DOCS / "_ext" / "stkit_nonstationarity.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_its_python_runs() -> None:
    (block,) = python_blocks(PAGE)
    names: dict[str, object] = {}
    exec(compile(block.body, str(PAGE), "exec"), names)  # the page's own code


def test_every_built_in_module_is_drawn_and_explained(figure: ModuleType) -> None:
    from stkit.plugin.manager import plugins

    text = PAGE.read_text(encoding="utf-8")
    built_in = [spec for spec in plugins().specs("modules") if spec.slot == "nonstationary" and spec.plugin == "stkit"]
    assert {values["name"] for values in figure.MODULES.values()} == {spec.name for spec in built_in}
    for spec in built_in:
        assert f"`model.nonstationary: {spec.name}`" in text
        for field in spec.load_config().model_fields:
            assert field == "name" or f"`{field}" in text, f"{spec.name}.{field}"


def test_what_the_figure_draws(figure: ModuleType) -> None:
    field = figure.frames()
    series = field[0, :, 0, *figure.CELL]
    seen, said = figure.walked({"name": "differencing"}, field)
    assert torch.allclose(seen[1:], series[1 : figure.CONTEXT] - series[: figure.CONTEXT - 1], atol=1e-5)
    assert torch.equal(said[: figure.CONTEXT], series[: figure.CONTEXT])
    assert (said[figure.CONTEXT :] == series[figure.CONTEXT - 1]).all(), "persistence"
