"""What the page on synthetic fields shows works."""

from __future__ import annotations

from stkit.recipe import load
from tests.docs.pages import DOCS, blocks, python_blocks

PAGE = DOCS / "guides" / "synthetic-fields.md"


def test_its_python_runs():
    (block,) = python_blocks(PAGE)
    names: dict[str, object] = {}
    exec(compile(block.body, str(PAGE), "exec"), names)  # the page's own code
    assert names["forecast"].shape == (4, 1, 16, 24)
    assert (names["error"][1:] > names["error"][:-1]).all()


def test_its_recipe_is_sound(tmp_path):
    (recipe,) = [block for block in blocks(PAGE) if block.info == "yaml"]
    path = tmp_path / "moving.yaml"
    path.write_text(recipe.body, encoding="utf-8")
    dataset = load(str(path)).recipe.data.dataset
    assert (dataset.velocity_x, dataset.diffusion) == (2.5, 0.05), "a mapping of the same name merges"
