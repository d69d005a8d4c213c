"""Finding recipes, composing them, extending, overriding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stkit.errors import RecipeError
from stkit.recipe import from_dict, load
from stkit.recipe.find import safe_name

from ..fake_site import FakeSite
from .conftest import BASE, Recipes


def test_a_file_by_its_path(recipes: Recipes) -> None:
    loaded = load("base.yaml")
    assert loaded.name == "base"
    assert loaded.layers == (("base.yaml", BASE),)
    assert loaded.recipe.train.steps == 10
    assert load(str(recipes.folder / "base.yaml")).recipe == loaded.recipe
    assert load("base").recipe == loaded.recipe


def test_a_shipped_recipe_with_and_without_its_ending(recipes: Recipes) -> None:
    assert load("predrnn-sst").recipe == load("predrnn-sst.yaml").recipe == load("stkit/predrnn-sst").recipe
    assert load("predrnn-sst").name == "predrnn-sst"


def test_a_file_of_the_exact_name_wins_over_a_shipped_recipe(recipes: Recipes) -> None:
    recipes.write("predrnn-sst.yaml", BASE)
    assert load("predrnn-sst.yaml").recipe.summary == "small"
    assert load("predrnn-sst").recipe.summary != "small", "a file of that exact name, ending and all"


def test_a_file_of_the_exact_name_wins_over_a_composition(recipes: Recipes) -> None:
    recipes.write("over.yaml", "seed: 7\n")
    assert load("base+over.yaml").recipe.seed == 7
    recipes.write("base+over.yaml", BASE + "seed: 8\n")
    assert load("base+over.yaml").recipe.seed == 8
    assert load("base+over.yaml").name == "base+over"


def test_a_composition_lays_the_later_over_the_earlier(recipes: Recipes) -> None:
    recipes.write("one.yaml", "seed: 1\ntrain: {steps: 11}\n")
    recipes.write("two.yaml", "seed: 2\n")
    loaded = load("base+one+two")
    assert (loaded.recipe.seed, loaded.recipe.train.steps) == (2, 11)
    assert loaded.name == "base+one+two"
    assert [source for source, _ in loaded.layers] == ["base.yaml", "one.yaml", "two.yaml"]
    assert load("base+two+one").recipe.seed == 1


def test_a_composition_of_shipped_and_own_parts(recipes: Recipes) -> None:
    recipes.write("mine.yaml", "train: {steps: 7}\n")
    loaded = load("predrnn-sst+mine+reverse-sampling")
    assert loaded.recipe.train.steps == 7
    assert loaded.recipe.train.sampling.name == "reverse_scheduled"


def test_where_the_name_changes_nothing_of_the_old_component_is_kept(recipes: Recipes) -> None:
    recipes.write("old.yaml", "train: {sampling: {name: scheduled, start: 0.5, stop_step: 3}}\n")
    recipes.write("new.yaml", "train: {sampling: {name: reverse_scheduled}}\n")
    assert load("base+old+new").recipe.train.sampling.model_dump() == {
        "name": "reverse_scheduled",
        "first_step": 25_000,
        "second_step": 50_000,
        "decay_steps": 5_000.0,
    }
    again = load("base+old", ["train.sampling.name=scheduled"]).recipe.train.sampling
    assert (again.start, again.stop_step) == (0.5, 3)


def test_what_is_said_of_the_architectures_component_goes_with_it(recipes: Recipes) -> None:
    """A file that changes MIM without naming it says nothing of the transition that an overlay names."""
    recipes.write("small.yaml", "extends: base.yaml\nmodel: {name: mim, layers: [4, 4], transition: {kernel: 3}}\n")
    recipes.write("over.yaml", "model: {transition: forget}\n")
    assert load("small").recipe.model.transition.model_dump()["kernel"] == 3
    transition = load("small+over").recipe.model.transition
    assert transition is not None
    assert transition.model_dump() == {"name": "forget", "layers": None, "bias": 1.0}
    assert load("small+over", ["model.transition.bias=2"]).recipe.model.transition.model_dump()["bias"] == 2
    assert load("small+over", ["model.variant=paper"]).recipe.model.transition == transition
    recipes.write("same.yaml", "model: {transition: {name: mim, forget_bias: 2}}\n")
    kept = load("small+same").recipe.model.transition.model_dump()
    assert (kept["kernel"], kept["forget_bias"], kept["layers"]) == (3, 2, "2..")


def test_another_architecture_keeps_nothing_of_the_first(recipes: Recipes) -> None:
    recipes.write("deep.yaml", "model: {layers: [4, 4, 4], patch: 2, cell: {kernel: 3}}\n")
    recipes.write("other.yaml", "model: {name: convlstm, layers: [5]}\ntrain: {sampling: {name: none}}\n")
    model = load("base+deep+other").recipe.model
    assert model.cell.name == "conv_lstm"
    assert (model.patch, len(model.layers)) == (1, 1)


def test_a_bare_string_is_a_name(recipes: Recipes) -> None:
    recipes.write("over.yaml", "train: {loss: mae}\nmodel: {cell: {kernel: 3}}\n")
    assert load("base+over").recipe.train.loss.name == "mae"
    assert load("base+over", ["model.cell=st_lstm"]).recipe.model.cell.kernel == 3, "the same component merges"
    assert load("base.yaml", ["data.dataset=wind_navy"]).recipe.data.dataset.name == "wind_navy"
    assert load("base.yaml", ["model=predrnn"]).recipe == load("base.yaml").recipe


def test_a_list_is_replaced(recipes: Recipes) -> None:
    recipes.write("over.yaml", "evaluate: {metrics: [mae]}\n")
    assert list(load("base+over").recipe.evaluate.scores) == ["mae"]


def test_null_takes_a_value_away(recipes: Recipes) -> None:
    recipes.write("over.yaml", "data: {crop: {height: 8, width: 8}}\n")
    recipes.write("none.yaml", "data: {crop: null}\n")
    assert load("base+over+none").recipe.data.crop is None


def test_numbers_are_those_of_yaml_1_2(recipes: Recipes) -> None:
    recipes.write("over.yaml", "train: {optimiser: {lr: 1e-4}, clip_norm: 0o17}\nsummary: on\n")
    recipe = load("base+over").recipe
    assert (recipe.train.optimiser.lr, recipe.train.clip_norm, recipe.summary) == (1e-4, 15, "on")
    recipes.write("date.yaml", "summary: 2006-04-01\n")
    assert load("base+date").recipe.summary == "2006-04-01"


def test_overrides_win_and_the_later_of_two_wins(recipes: Recipes) -> None:
    loaded = load("base.yaml", ["train.steps=7", "model.layers=[8, 8, 8]", "train.steps=9", "summary=a b"])
    assert loaded.recipe.train.steps == 9
    assert [layer.width for layer in loaded.recipe.model.layers] == [8, 8, 8]
    assert loaded.recipe.summary == "a b"
    assert loaded.overrides == ("train.steps=7", "model.layers=[8, 8, 8]", "train.steps=9", "summary=a b")


def test_overrides_of_one_component_do_not_depend_on_their_order(recipes: Recipes) -> None:
    changes = ["train.sampling.name=reverse_scheduled", "train.sampling.first_step=3"]
    assert load("base.yaml", changes).recipe == load("base.yaml", changes[::-1]).recipe


def test_an_override_reaches_into_a_list(recipes: Recipes) -> None:
    layers = load("base.yaml", ["model.layers.1.cell.kernel=3"]).recipe.model.layers
    assert [None if layer.cell is None else layer.cell.kernel for layer in layers] == [None, 3]
    assert [layer.width for layer in layers] == [4, 4]
    conv = load("base.yaml", ["model=convlstm", "model.layers.0=6", "train.sampling={name: none}"]).recipe.model
    assert conv.layers[0].width == 6


def test_an_override_reaches_into_the_architecture(recipes: Recipes) -> None:
    recipe = load("base.yaml", ["model.cell.kernel=3", "model.variant=paper"]).recipe
    assert recipe.model.cell.kernel == 3
    assert recipe.model.cell.bias is True


def test_the_architecture_is_the_lowest_layer(recipes: Recipes) -> None:
    model = load("base.yaml").recipe.model
    assert (model.name, model.variant) == ("predrnn", "standard")
    assert model.cell.name == "st_lstm"
    assert [layer.width for layer in model.layers] == [4, 4]
    everything = {"cell": "conv_lstm", "layers": [4], "head": "conv", "rollout": {"name": "next_frame"}}
    values = {"data": {"dataset": "sst_ostia", "input_steps": 1, "horizon": 1}, "model": everything}
    values["train"] = {"steps": 1, "loss": "mse", "sampling": {"name": "none"}}
    assert from_dict(values).recipe.model.name is None


def test_layers_may_differ(recipes: Recipes) -> None:
    layers = "[4, {width: 4, cell: {bias: true}}, {width: 4, cell: conv_lstm}]"
    recipes.write("over.yaml", f"model: {{cell: {{kernel: 3}}, layers: {layers}}}\n")
    layers = load("base+over").recipe.model.layers
    assert layers[0].cell is None
    assert (layers[1].cell.name, layers[1].cell.kernel, layers[1].cell.bias) == ("st_lstm", 3, True)
    assert (layers[2].cell.name, layers[2].cell.kernel) == ("conv_lstm", 5), "another cell keeps nothing of the model's"


def test_extends_a_shipped_recipe_a_file_and_a_composition(recipes: Recipes) -> None:
    recipes.write("sub/parent.yaml", "extends: ../base.yaml\nseed: 1\n")
    recipes.write("sub/over.yaml", "train: {steps: 5}\n")
    recipes.write("child.yaml", "extends: sub/parent.yaml\nsummary: child\n")
    loaded = load("child.yaml")
    assert (loaded.recipe.summary, loaded.recipe.seed, loaded.recipe.train.steps) == ("child", 1, 10)
    assert [source for source, _ in loaded.layers] == ["base.yaml", "sub/parent.yaml", "child.yaml"]
    recipes.write("sub/both.yaml", "extends: parent+over\n")
    assert load("sub/both.yaml").recipe.train.steps == 5, "a name is looked for beside the file that says it"
    recipes.write("list.yaml", "extends: [predrnn-sst, sub/over.yaml]\n")
    assert load("list.yaml").recipe.train.steps == 5
    assert load("list.yaml").recipe.data.crop == load("predrnn-sst").recipe.data.crop


def test_a_copy_of_a_shipped_recipe_may_extend_the_shipped_one(recipes: Recipes) -> None:
    recipes.write("predrnn-sst.yaml", "extends: predrnn-sst\nseed: 5\n")
    assert load("predrnn-sst.yaml").recipe.seed == 5


def test_a_cycle_is_refused(recipes: Recipes) -> None:
    recipes.write("a.yaml", "extends: b.yaml\n")
    recipes.write("b.yaml", "extends: c\n")
    recipes.write("c.yaml", "summary: x\nextends: [base, a]\n")
    with pytest.raises(RecipeError) as caught:
        load("a.yaml")
    assert str(caught.value) == (
        "c.yaml:2:17: extends: a cycle: a.yaml extends b.yaml extends c.yaml extends a.yaml\n"
        "  2 | extends: [base, a]\n"
        "    |                 ^"
    )
    recipes.write("self.yaml", "extends: self.yaml\n")
    with pytest.raises(RecipeError, match=r"a cycle: self\.yaml extends self\.yaml"):
        load("self.yaml")


def test_a_recipe_extended_twice_is_no_cycle(recipes: Recipes) -> None:
    recipes.write("left.yaml", "extends: base.yaml\nseed: 1\n")
    recipes.write("right.yaml", "extends: base.yaml\nsummary: right\n")
    recipes.write("both.yaml", "extends: [left.yaml, right.yaml]\n")
    assert load("both.yaml").recipe.summary == "right"


def test_what_extends_names_must_be_there(recipes: Recipes) -> None:
    recipes.write("child.yaml", "extends: bose.yaml\n")
    with pytest.raises(RecipeError) as caught:
        load("child.yaml")
    assert str(caught.value).startswith(
        "child.yaml:1:10: extends: there is no file 'bose.yaml'; did you mean 'base.yaml'"
    )
    recipes.write("child.yaml", "extends: {a: b}\n")
    with pytest.raises(
        RecipeError, match=r"child\.yaml:1:10: extends: expected the name of a recipe, or a list of names"
    ):
        load("child.yaml")


def test_a_run_directory_repeats_the_run(recipes: Recipes) -> None:
    loaded = load("base.yaml", ["train.steps=7"])
    run = recipes.folder / "runs" / "mine" / "2026-01-01"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text(loaded.resolved_yaml())
    assert load("runs/mine/2026-01-01").recipe == loaded.recipe
    assert load("runs/mine/2026-01-01").name == "mine", "the folder of the recipe's runs"
    (run / "run.json").write_text(json.dumps({"name": "base"}))
    assert load(str(run)).name == "base"
    (run / "run.json").write_text("{")
    assert load(str(run)).name == "mine"


def test_the_resolved_recipe_says_everything(recipes: Recipes) -> None:
    loaded = load("base.yaml")
    again = from_dict(json.loads(json.dumps(loaded.recipe.model_dump(mode="json"))))
    assert again.recipe == loaded.recipe
    assert again.hash == loaded.hash
    text = loaded.resolved_yaml()
    for said in ("variant: standard", "kernel: 5", "clip_norm: null", "accumulate: 1", "gap_steps: 1"):
        assert said in text


@pytest.mark.parametrize("ref", ["predrnn-sst", "convlstm-sst", "predrnn-wind", "predrnn-sst+reverse-sampling"])
def test_resolved_shipped_recipes_load_equal(recipes: Recipes, ref: str) -> None:
    loaded = load(ref)
    recipes.write("resolved.yaml", loaded.resolved_yaml())
    again = load("resolved.yaml")
    assert again.recipe == loaded.recipe
    assert again.resolved_yaml() == loaded.resolved_yaml()
    assert again.hash == loaded.hash


def test_the_hash_tells_recipes_apart(recipes: Recipes) -> None:
    loaded = load("base.yaml")
    assert len(loaded.hash) == 64
    assert load("base.yaml", ["seed=0"]).hash == loaded.hash
    assert load("base.yaml", ["seed=1"]).hash != loaded.hash
    assert load("base.yaml", ["model.cell.kernel=3"]).hash != loaded.hash


def test_names_are_safe_as_folders() -> None:
    assert safe_name("mim+attention") == "mim+attention"
    assert safe_name("../a b/ü") == "a-b"
    assert safe_name("///") == "recipe"
    assert len(safe_name("x" * 300)) == 80


def test_from_python(recipes: Recipes) -> None:
    values = {
        "data": {"dataset": "sst_ostia", "input_steps": 1, "horizon": 1},
        "model": {"name": "predrnn", "layers": (4, 4)},
        "train": {"steps": 1, "loss": "mse", "sampling": {"name": "none"}},
    }
    loaded = from_dict(values, name="my experiment")
    assert loaded.name == "my-experiment"
    assert loaded.layers[0][0] == "python"
    with pytest.raises(RecipeError) as caught:
        from_dict({**values, "seed": -1})
    assert str(caught.value) == "recipe: seed: should be at least 0; received -1"


def test_a_plugins_recipe(site: FakeSite, recipes: Recipes) -> None:
    package = site.folder / "fake_recipes_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('a recipe needs no import of its package')")
    (package / "net.yaml").write_text("extends: base-of-mine.yaml\nseed: 3\n")
    (package / "base-of-mine.yaml").write_text(BASE)
    code = """
    from stkit.api import RecipeSpec, hookimpl

    @hookimpl
    def stkit_recipes():
        yield RecipeSpec(name="my-net", resource="fake_recipes_package:net.yaml")
        yield RecipeSpec(name="lost", resource="fake_recipes_package:lost.yaml")
        yield RecipeSpec(name="predrnn-wind", resource="fake_recipes_package:net.yaml")
    """
    site.install("mine", code)
    assert load("my-net").recipe.seed == 3
    assert load("mine/my-net").name == "my-net"
    with pytest.raises(
        Exception, match=r"the recipe 'mine/lost' \(stkit-mine 1.0\) has no file at 'fake_recipes_package:lost"
    ):
        load("lost")
    with pytest.raises(RecipeError, match="more than one plugin provides the recipe 'predrnn-wind'"):
        load("predrnn-wind")
    assert load("stkit/predrnn-wind").recipe.seed == 0


def test_a_recipe_that_only_a_plugin_can_find(site: FakeSite, recipes: Recipes) -> None:
    code = f"""
    from stkit.api import hookimpl

    @hookimpl
    def stkit_resolve_recipe(ref):
        return {BASE!r} if ref.startswith("lab:") else None
    """
    site.install("lab", code)
    loaded = load("lab:sst+reverse-sampling")
    assert loaded.layers[0][0] == "lab:sst+reverse-sampling (by plugin lab)", "the plugin saw the whole name first"
    assert load("lab:sst").name == "lab-sst"
    assert load("reverse-sampling+lab:sst").recipe.train.sampling.name == "scheduled"


def test_shipped_recipes_are_in_the_checkout_or_in_the_package(tmp_path: Path) -> None:
    from stkit.recipe.shipped_files import shipped_directory

    assert (shipped_directory() / "predrnn-sst.yaml").is_file()
