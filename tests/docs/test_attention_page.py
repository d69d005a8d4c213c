"""What the page on attention shows is read and runs, and its table is of its record."""

from __future__ import annotations

import json

import pytest

from stkit.recipe import load
from tests.docs.pages import DOCS, blocks, python_blocks

PAGE = DOCS / "guides" / "attention.md"
RECIPES = [block for block in blocks(PAGE) if block.info == "yaml"]


@pytest.mark.parametrize("block", RECIPES, ids=[str(block.line) for block in RECIPES])
def test_a_shown_recipe_is_sound(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown.yaml").write_text(f"extends: convlstm-sst\n{block.body}", encoding="utf-8")
    assert load("shown.yaml").recipe.model.attention


def test_the_python_runs():
    (block,) = python_blocks(PAGE)
    names: dict[str, object] = {}
    exec(compile("\n" * (block.line - 1) + block.body, str(PAGE), "exec"), names)  # the page's own code
    assert names["forecast"].shape == (2, 3, 1, 12, 16)


def test_memory_grows_with_the_grid_in_every_row():
    """Four times the cells, at most so much more memory, up to what every process has anyway."""
    rows = json.loads((DOCS / "records" / "attention" / "cost.json").read_text(encoding="utf-8"))["rows"]
    taken = {(row["form"], row["side"]): row["mebibytes"] for row in rows}
    assert {side for _, side in taken} == {32, 64, 96, 128}
    for form in {form for form, _ in taken}:
        assert taken[form, 128] < 5 * taken[form, 64] + 32, form
        assert taken[form, 128] < 128**4 * 4 / 2**20 / 4, "a quarter of one matrix of scores"
