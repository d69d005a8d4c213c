"""Every shipped recipe is sound; an overlay is sound on a recipe."""

from __future__ import annotations

import pytest

from stkit.errors import RecipeError
from stkit.plugin.manager import plugins
from stkit.recipe import load
from stkit.recipe.shipped_files import recipe_path

NAMES = [spec.name for spec in plugins().specs("recipes") if spec.plugin == "stkit"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_is_sound(name: str) -> None:
    try:
        loaded = load(name)
    except RecipeError as error:
        assert "if this is an overlay, put it on a recipe" in str(error)
        assert len(error.problems) == 1
        loaded = load(f"predrnn-sst+{name}")
        assert loaded.recipe != load("predrnn-sst").recipe, "an overlay changes something"
    else:
        assert loaded.recipe.summary


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_has_its_line_in_the_index(name: str) -> None:
    (spec,) = [spec for spec in plugins().specs("recipes") if spec.qualified_name == f"stkit/{name}"]
    assert spec.summary
    assert recipe_path(spec).stem == name
