"""Every shipped recipe is sound; an overlay is sound on a recipe."""

from __future__ import annotations

from pathlib import Path

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


BASES = ["convlstm", "e3d-lstm", "mim", "mim-star", "predrnn", "predrnnpp"]
DATA = ["sst", "wind", "mnist", "netcdf"]
MODULES = ["attention", "nonstationary", "recall"]
OVERLAYS = [*DATA, *MODULES, "reverse-sampling", "radar"]
WHOLE = [name for name in NAMES if name not in OVERLAYS]


@pytest.mark.parametrize("name", WHOLE)
def test_a_shipped_recipe_is_sound(name: str) -> None:
    assert load(name).recipe.summary


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_shipped_overlay_is_sound_on_a_recipe_and_changes_something(name: str) -> None:
    base = "predrnn-wind" if name == "sst" else "predrnn-sst"
    assert load(f"{base}+{name}").recipe != load(base).recipe
    with pytest.raises(RecipeError, match="if this is an overlay, put it on a recipe") as caught:
        load(name)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("base", WHOLE)
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


@pytest.mark.parametrize("base", BASES)
def test_any_architecture_with_any_modules_on_any_data(base: str) -> None:
    """And the data are those of the overlay alone, whatever the base recipe starts from."""
    alone = load(base).recipe
    for data in DATA:
        whole = load(f"{base}+{'+'.join(MODULES)}+{data}", ["data.departure_from=none"]).recipe
        assert whole.model.nonstationary is not None
        assert whole.model.attention["h"].name == "self_attention_memory"
        assert [whole.model.name, whole.model.cell] == [alone.model.name, alone.model.cell]
        assert whole.train == alone.train
        assert whole.data == load(f"predrnn+{data}", ["data.departure_from=none"]).recipe.data


@pytest.mark.parametrize("base", BASES)
def test_radar_goes_on_any_architecture(base: str) -> None:
    """It changes the data, the loss and the scores; the rest of the training is that of the base recipe."""
    alone, rain = load(base).recipe, load(f"{base}+radar").recipe
    assert rain.train.loss.name == "balanced"
    assert rain.train.steps == alone.train.steps
    assert [rain.model.name, rain.model.cell, rain.model.layers] == [
        alone.model.name,
        alone.model.cell,
        alone.model.layers,
    ]
    assert rain.data == load("predrnn+radar").recipe.data
    assert next(iter(rain.evaluate.scores)) == "csi_1"


def test_the_base_recipes_differ_in_their_model() -> None:
    """And in what it asks of training: its sampling, and how long it waits before it stops."""
    train, data, models = [], [], []
    for base in BASES:
        recipe = load(base).recipe
        own = recipe.train.model_copy(update={"sampling": None, "early_stopping": None})
        train.append(own)
        data.append(recipe.data)
        models.append(recipe.model.name)
    assert len(set(models)) == len(BASES)
    assert all(one == train[0] for one in train)
    assert all(one == data[0] == load("predrnn+sst").recipe.data for one in data)


def test_mim_with_attention_is_a_file_and_what_the_algebra_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # from any folder
    shipped = load("mim+attention.yaml")
    assert shipped.name == "mim+attention"
    assert shipped.layers[-1][0].endswith("mim+attention.yaml")
    for name in ("mim", "attention"):
        (spec,) = [spec for spec in plugins().specs("recipes") if spec.qualified_name == f"stkit/{name}"]
        (tmp_path / f"{name}-copy.yaml").write_text(recipe_path(spec).read_text("utf-8"), "utf-8")
    composed = load("mim-copy+attention-copy")
    assert composed.recipe.model_copy(update={"summary": shipped.recipe.summary}) == shipped.recipe
    assert load("mim+attention").hash == shipped.hash
    assert load("mim+attention+wind").recipe.data == load("mim+wind").recipe.data
    Path("mim+attention.yaml").write_text("extends: mim\ntrain: {steps: 7}\n", "utf-8")
    assert load("mim+attention.yaml").recipe.train.steps == 7, "a file of exactly that name wins"


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_has_its_line_in_the_index(name: str) -> None:
    (spec,) = [spec for spec in plugins().specs("recipes") if spec.qualified_name == f"stkit/{name}"]
    assert spec.summary
    assert recipe_path(spec).stem == name
