"""Every shipped recipe is sound; an overlay is sound on a recipe."""

from __future__ import annotations

import pytest
from stkit_e3d_lstm.recall import Recall

from stkit.errors import RecipeError
from stkit.modules.attention.self_attention_memory import SelfAttentionMemory
from stkit.plugin.manager import plugins
from stkit.recipe import load
from stkit.recipe.shipped_files import recipe_path
from stkit.stacks import Stack
from stkit.stacks.build import build_forecaster

NAMES = [spec.name for spec in plugins().specs("recipes") if spec.plugin == "stkit"]


OVERLAYS = ["attention", "netcdf", "nonstationary", "recall", "reverse-sampling"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OVERLAYS])
def test_a_shipped_recipe_is_sound(name: str) -> None:
    assert load(name).recipe.summary


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_shipped_overlay_is_sound_on_a_recipe_and_changes_something(name: str) -> None:
    assert load(f"predrnn-sst+{name}").recipe != load("predrnn-sst").recipe
    with pytest.raises(RecipeError, match="if this is an overlay, put it on a recipe") as caught:
        load(name)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("base", [name for name in NAMES if name not in OVERLAYS])
def test_attention_and_recall_go_on_every_recipe(base: str) -> None:
    """Every layer whose cell has a hidden state gets the memory, every cell with the slot the transition."""
    model = load(f"{base}+recall+attention").recipe.model
    built = build_forecaster(model, in_channels=2, out_channels=1, grid=(64, 64), device="meta")
    cells = [layer.cell or model.cell for layer in model.layers]
    stacks = [part for part in built.modules() if isinstance(part, Stack)]
    for stack in stacks:
        for node, cell in zip(stack.nodes, cells, strict=True):
            memories = [part for part in node.modules() if isinstance(part, SelfAttentionMemory)]
            assert len(memories) == ("h" in cell.places)
            assert any(isinstance(part, Recall) for part in node.modules()) == ("transition" in cell.slots)
    assert stacks


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_has_its_line_in_the_index(name: str) -> None:
    (spec,) = [spec for spec in plugins().specs("recipes") if spec.qualified_name == f"stkit/{name}"]
    assert spec.summary
    assert recipe_path(spec).stem == name
