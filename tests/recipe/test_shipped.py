"""Every shipped recipe is sound; an overlay is sound on a recipe."""

from __future__ import annotations

import pytest

from stkit.errors import RecipeError
from stkit.plugin.manager import plugins
from stkit.recipe import load
from stkit.recipe.shipped_files import recipe_path

NAMES = [spec.name for spec in plugins().specs("recipes") if spec.plugin == "stkit"]


OVERLAYS = ["netcdf", "nonstationary", "reverse-sampling"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OVERLAYS])
def test_a_shipped_recipe_is_sound(name: str) -> None:
    assert load(name).recipe.summary


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_shipped_overlay_is_sound_on_a_recipe_and_changes_something(name: str) -> None:
    assert load(f"predrnn-sst+{name}").recipe != load("predrnn-sst").recipe
    with pytest.raises(RecipeError, match="if this is an overlay, put it on a recipe") as caught:
        load(name)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_has_its_line_in_the_index(name: str) -> None:
    (spec,) = [spec for spec in plugins().specs("recipes") if spec.qualified_name == f"stkit/{name}"]
    assert spec.summary
    assert recipe_path(spec).stem == name
