"""Attention in recipes: where it goes, what is refused and why, and that recipes without it are what they were."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from stkit.api import AttentionConfig, ModuleConfig
from stkit.cli.describe import describe_all
from stkit.errors import PluginError, RecipeError
from stkit.recipe import load
from stkit.recipe.component import load_config
from stkit.recipe.dryrun import dry_run
from stkit.recipe.plan import plan, plan_forecaster
from stkit.recipe.schema import recipe_schema
from stkit.stacks.build import build_forecaster, model_config

from .conftest import Recipes

MIM = {"name": "mim", "layers": [4, 4, 4]}


def model(**values: Any) -> Any:
    return model_config({**MIM, **values})


def standing(config: Any) -> list[dict[str, str]]:
    """For each layer the modules by place."""
    return [{s.place: s.module.name for s in node.attention} for node in plan(config, 1)]


def refused(**values: Any) -> str:
    """What reading the model, or else planning it, says is wrong."""
    with pytest.raises(RecipeError) as caught:
        plan(model(**values), 1)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------- where


def test_every_layer_with_the_place_gets_the_module() -> None:
    assert standing(model(attention={"h": "self_attention", "d": "self_attention_memory"})) == [
        {"h": "self_attention"},
        {"h": "self_attention", "d": "self_attention_memory"},
        {"h": "self_attention", "d": "self_attention_memory"},
    ]


@pytest.mark.parametrize(
    ("layers", "expected"), [([1, 3], [1, 0, 1]), ("2..", [0, 1, 1]), ("1..2", [1, 1, 0]), (None, [1, 1, 1])]
)
def test_layers_are_named_as_for_a_transition(layers: Any, expected: list[int]) -> None:
    got = standing(model(attention={"m": {"name": "axial_attention", "layers": layers}}))
    assert [len(found) for found in got] == expected


def test_a_layer_may_differ() -> None:
    got = standing(
        model(
            layers=[
                {"width": 4, "attention": {"h": None, "c": "axial_attention"}},
                {"width": 4, "attention": {"h": "axial_attention"}},
                4,
            ],
            attention={"h": "self_attention", "x": "self_attention"},
        )
    )
    assert got == [
        {"x": "self_attention", "c": "axial_attention"},
        {"x": "self_attention", "h": "axial_attention"},
        {"x": "self_attention", "h": "self_attention"},
    ]


def test_a_layer_starts_from_what_the_model_says_of_the_place() -> None:
    config = model(
        layers=[{"width": 4, "attention": {"h": {"heads": 4}}}, 4, 4],
        attention={"h": {"name": "self_attention", "scaled": True, "layers": "2.."}},
    )
    (own,) = plan(config, 1)[0].attention
    assert (own.module.name, own.module.model_dump()["heads"], own.module.model_dump()["scaled"]) == (
        "self_attention",
        4,
        True,
    )
    assert [len(node.attention) for node in plan(config, 1)] == [1, 1, 1], "which layers get it is not for a layer"


def test_before_and_after() -> None:
    config = model(
        attention={
            "x": "self_attention",
            "h": {"name": "self_attention", "when": "before"},
            "c": "self_attention",
            "m": {"name": "self_attention", "when": "after"},
        }
    )
    assert {s.place: s.before for s in plan(config, 1)[0].attention} == {"x": True, "h": True, "c": False, "m": False}
    cell: Any = build_forecaster(config, in_channels=1, out_channels=1).network.stack.nodes[0]
    assert cell.places == (("x", "h"), ("c", "m"))


def test_a_register_has_other_channels_before_and_after() -> None:
    """The memory of PredRNN++ narrows on its way up."""
    config = model_config(
        {
            "name": "predrnnpp",
            "layers": [6, {"width": 6, "cell": {"name": "ghu"}}, 4],
            "attention": {"m": {"name": "self_attention", "when": "before"}, "z": "self_attention"},
        }
    )
    assert [[(s.place, s.channels) for s in node.attention] for node in plan(config, 1)] == [
        [("m", 4)],
        [("z", 6)],
        [("m", 6)],
    ]
    build_forecaster(config, in_channels=1, out_channels=1, device="meta")


def test_the_places_of_3_d_fields() -> None:
    config = model_config(
        {
            "name": "e3d_lstm",
            "layers": [{"width": 1, "cell": "frame_window"}, 4, 4],
            "attention": dict.fromkeys(("x", "frames", "h", "m"), "self_attention"),
        }
    )
    nodes = plan(config, 3)
    assert [(s.place, s.channels, s.at.depth) for s in nodes[0].attention] == [("x", 3, 0), ("frames", 3, 2)]
    assert [(s.place, s.channels, s.at.depth) for s in nodes[1].attention] == [("x", 3, 2), ("h", 4, 2), ("m", 4, 2)]


def test_overlays_and_overrides(recipes: Recipes) -> None:
    recipes.write("h.yaml", "model: {attention: {h: {name: self_attention, heads: 2}}}\n")
    recipes.write("c.yaml", "model: {attention: {c: self_attention_memory}}\n")
    recipes.write("other.yaml", "model: {attention: {h: axial_attention}}\n")
    recipes.write("none.yaml", "model: {attention: {h: null, d: null}}\n")

    def of(ref: str, *overrides: str) -> dict[str, Any]:
        found = load(ref, overrides).recipe.model.attention
        return {place: module and module.model_dump() for place, module in found.items()}

    assert of("base+h+c")["h"]["heads"] == 2
    assert list(of("base+h+c")) == ["h", "c"]
    assert of("base+h+other")["h"]["name"] == "axial_attention"
    assert of("base+h+other")["h"]["heads"] == 1, "nothing of the old module is kept"
    assert of("base+h", "model.attention.h.scaled=true")["h"]["heads"] == 2
    assert of("base+h+none") == {"h": None, "d": None}
    assert of("base+h", "model.attention=null") == {}
    assert of("base+h", "model.attention.h=null") == {"h": None}


def test_a_recipe_without_attention_is_what_it_was(recipes: Recipes) -> None:
    """Runs keep their recipe's hash, and with it their checkpoints."""
    loaded = load("base.yaml")
    assert "attention" not in json.dumps(loaded.recipe.model_dump(mode="json"))
    assert "attention" not in loaded.resolved_yaml()
    recipes.write("empty.yaml", "model: {attention: {}}\n")
    assert load("base+empty").hash == loaded.hash
    recipes.write("h.yaml", "model: {attention: {h: {name: self_attention, layers: [2]}}}\n")
    with_attention = load("base+h")
    assert with_attention.hash != loaded.hash
    recipes.write("again.yaml", with_attention.resolved_yaml())
    assert load("again.yaml").recipe == with_attention.recipe


# ----------------------------------------------------------------------------------------------- what is refused


HEADS = {"name": "self_attention", "heads": 3}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a place that is not there": (
        {"attention": {"q": "self_attention"}},
        "model.attention.q: no layer has a place 'q'; the places are x, h, c, m, d, t",
    ),
    "a place that is misspelt": (
        {"attention": {"hh": "self_attention"}},
        "model.attention.hh: no layer has a place 'hh'; did you mean 'h'? the places are x, h, c, m, d, t",
    ),
    "a place of a transition that is not there": (
        {"transition": None, "attention": {"d": "self_attention"}},
        "model.attention.d: no layer has a place 'd'; the places are x, h, c, m",
    ),
    "a layer without the place": (
        {"attention": {"t": {"name": "self_attention", "layers": [1, 2]}}},
        "model.attention.t.layers: layer 1 (st_lstm) has no place 't'; the places are x, h, c, m",
    ),
    "a layer that is not there": (
        {"attention": {"h": {"name": "self_attention", "layers": [4]}}},
        "model.attention.h.layers: there is no layer 4; the layers are 1 to 3",
    ),
    "a place in a layer that is not there": (
        {"layers": [{"width": 4, "attention": {"d": "self_attention"}}, 4]},
        "model.layers.0.attention.d: layer 1 (st_lstm) has no place 'd'; the places are x, h, c, m",
    ),
    "taken away from nowhere": (
        {"layers": [4, {"width": 4, "attention": {"hh": None}}]},
        "model.layers.1.attention.hh: layer 2 (st_lstm) has no place 'hh'; did you mean 'h'? the places are x, h, "
        "c, m, d, t",
    ),
    "layers in a layer": (
        {"layers": [{"width": 4, "attention": {"h": {"name": "self_attention", "layers": [1]}}}, 4]},
        "model.layers.0.attention.h.layers: attention that is written in a layer is for that layer; 'layers' says "
        "nothing here",
    ),
    "a module that is not there": (
        {"attention": {"h": "self_atention"}},
        "model.attention.h: no module for the slot 'attention' is called 'self_atention'; did you mean "
        "'self_attention' or 'self_attention_memory'?",
    ),
    "a module of another slot": (
        {"attention": {"h": "forget"}},
        "model.attention.h: the module 'forget' fits the slot 'transition', not 'attention'; known: axial_attention, ",
    ),
    "a module without a name": (
        {"attention": {"h": {"heads": 2}}},
        "model.attention.h.name: names no module for the slot 'attention'; known: axial_attention, self_attention, ",
    ),
    "a key that is not there": (
        {"attention": {"h": {"name": "self_attention", "head": 2}}},
        "model.attention.h.head: there is no such key; did you mean 'heads'?",
    ),
    "no mapping": (
        {"attention": ["h"]},
        "model.attention: should be a mapping; received a list of 1",
    ),
    "heads that do not divide": (
        {"attention": {"h": HEADS}},
        "model.attention.h: layer 1 (st_lstm), place 'h': 3 heads do not divide the 4 channels",
    ),
    "heads that do not divide in one layer": (
        {"layers": [{"width": 4, "attention": {"c": HEADS}}, 4]},
        "model.layers.0.attention.c: layer 1 (st_lstm), place 'c': 3 heads do not divide the 4 channels",
    ),
    "heads that do not divide the keys": (
        {"attention": {"h": {"name": "axial_attention", "heads": 2, "key_channels": 3}}},
        "model.attention.h: layer 1 (st_lstm), place 'h': 2 heads do not divide the 3 channels of 'key_channels'",
    ),
    "keys that cannot be turned": (
        {"attention": {"h": {"name": "self_attention", "positions": "rotary", "heads": 2, "key_channels": 4}}},
        "model.attention.h: layer 1 (st_lstm), place 'h': rotary positions turn 4 channels together, and 4 "
        "'key_channels' in 2 heads are 2 for each: take a multiple of 8",
    ),
    "a shift of a whole window": (
        {"attention": {"h": {"name": "windowed_attention", "window": 4, "shift": 4}}},
        "model.attention.h: windows of 4 cells are shifted by 0 to 3 of them; received a mapping",
    ),
    "after the input": (
        {"attention": {"x": {"name": "self_attention", "when": "after"}}},
        "model.attention.x.when: layer 1 (st_lstm): the input 'x' is there before the cell alone; leave out "
        "'when: after'",
    ),
    "before a signal of the transition": (
        {"attention": {"t": {"name": "self_attention", "when": "before"}}},
        "model.attention.t.when: layer 2 (st_lstm): the transition makes 't' inside the step, so attention cannot "
        "stand before it; leave out 'when: before'",
    ),
    "a time that is not there": (
        {"attention": {"h": {"name": "self_attention", "when": "during"}}},
        "model.attention.h.when: should be 'before' or 'after'; received 'during'",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused(what: str) -> None:
    values, expected = REFUSED[what]
    said = refused(**values)
    assert said.removeprefix("python: ").startswith(expected)
    assert len(said.splitlines()) == 1, "one message for one mistake"


def test_a_module_for_flat_fields_on_3_d_fields() -> None:
    with pytest.raises(RecipeError) as caught:
        plan(
            model_config(
                {
                    "name": "e3d_lstm",
                    "layers": [{"width": 1, "cell": "frame_window"}, 4],
                    "attention": {"x": "axial_attention"},
                }
            ),
            1,
        )
    assert str(caught.value) == (
        "model.attention.x: layer 2 (e3d_lstm) has B C 2 H W at 'x', and 'axial_attention' works on B C H W alone"
    )


def test_a_memory_at_an_input_that_only_the_encoder_has() -> None:
    silent = {"name": "convlstm", "layers": [4, 4], "attention": {"x": "self_attention_memory"}}
    with pytest.raises(RecipeError) as caught:
        plan(model_config(silent), 1)
    assert str(caught.value) == (
        "model.attention.x: layer 1 (conv_lstm): 'self_attention_memory' has a memory, and the forecaster, which "
        "starts from the encoder's memories, has not the same input 'x'; take one without a memory, or the rollout "
        "next_frame"
    )
    above = model_config({**silent, "attention": {"x": {"name": "self_attention_memory", "layers": "2.."}}})
    build_forecaster(above, in_channels=1, out_channels=1, device="meta")
    forgetful = model_config({**silent, "attention": {"x": {"name": "self_attention", "layers": [1, 2]}}})
    assert [len(node.attention) for node in plan(forgetful, 1)] == [1, 1]
    assert [len(node.attention) for node in plan_forecaster(forgetful)] == [0, 1], "the forecaster has no input"
    build_forecaster(forgetful, in_channels=1, out_channels=1, device="meta")


WINDOWS = {"windowed_attention": {"window": 8}, "self_attention_memory": {"window": 8}}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_that_does_not_fit_the_grid(name: str) -> None:
    config = model(attention={"h": {"name": name, **WINDOWS[name]}}, patch=2)
    with pytest.raises(RecipeError) as caught:
        build_forecaster(config, in_channels=1, out_channels=1, grid=(13, 40), device="meta")
    assert str(caught.value).splitlines()[0] == (
        "model.attention.h: layer 1 (st_lstm), place 'h': a window of 8 x 8 does not fit the grid of 7 x 20 (counted "
        "in patches); take 'window: 7' or less"
    )
    build_forecaster(config, in_channels=1, out_channels=1, grid=(15, 40), device="meta")


def test_a_window_that_does_not_fit_the_crops_is_told_when_the_recipe_is_read(recipes: Recipes) -> None:
    window = "model.attention.h={name: windowed_attention, window: 8}"
    load("base.yaml", [window, "data.crop={height: 8, width: 32}"])
    with pytest.raises(RecipeError, match=r"a window of 8 x 8 does not fit the grid of 4 x 16 \(counted in patches\)"):
        load("base.yaml", [window, "data.crop={height: 8, width: 32}", "model.patch=2"])


def test_heads_at_the_input_wait_for_the_data(recipes: Recipes) -> None:
    """How many fields there are is known when the data are opened; what holds for any number of them is told before."""
    model_of = load("base.yaml", ["model.attention.x={name: self_attention, heads: 3, layers: [1]}"]).recipe.model
    build_forecaster(model_of, in_channels=3, out_channels=3, device="meta")
    with pytest.raises(RecipeError, match="3 heads do not divide the 2 channels"):
        build_forecaster(model_of, in_channels=2, out_channels=2, device="meta")
    with pytest.raises(RecipeError, match=r"layer 2 \(st_lstm\), place 'x': 3 heads do not divide the 4 channels"):
        load("base.yaml", ["model.attention.x={name: self_attention, heads: 3}"])


def test_a_message_shows_the_line(recipes: Recipes) -> None:
    recipes.write("over.yaml", "model:\n  attention:\n    hh: self_attention\n")
    with pytest.raises(RecipeError) as caught:
        load("base+over")
    assert str(caught.value) == (
        "over.yaml:3:9: model.attention.hh: no layer has a place 'hh'; did you mean 'h'? the places are x, h, c, m\n"
        "  3 |     hh: self_attention\n    |         ^^^^^^^^^^^^^^"
    )


def test_a_plugins_module_that_says_nothing_of_places() -> None:
    spec: Any = SimpleNamespace(
        config="theirs:Config", qualified_name="theirs/look", distribution="theirs 1", load_config=lambda: ModuleConfig
    )
    with pytest.raises(PluginError, match=r"must be a subclass of stkit\.api\.AttentionConfig"):
        load_config(spec, AttentionConfig)


# ------------------------------------------------------------------------------------------ what is told of it


def test_the_schema_knows_attention(recipes: Recipes) -> None:
    check = jsonschema.Draft202012Validator(recipe_schema())
    sound = {"h": "self_attention", "c": {"name": "windowed_attention", "window": 4, "layers": "2.."}, "d": None}
    check.validate({"model": {"attention": sound, "layers": [{"width": 4, "attention": sound}]}})
    for wrong in ({"h": "nothing"}, {"h": {"name": "self_attention", "window": 4}}, ["h"]):
        assert not check.is_valid({"model": {"attention": wrong}})


def test_a_dry_run_tells_what_stands_where_and_counts_no_matrix(recipes: Recipes) -> None:
    def counted(side: int) -> Any:
        overrides = ["model.attention.h=self_attention_memory", f"data.crop={{height: {side}, width: {side}}}"]
        return dry_run(load("base.yaml", [*overrides, "data.dataset=wind_navy"]))

    small, large = counted(8), counted(32)
    assert [layer.attention for layer in small.layers] == [{"h": "self_attention_memory"}] * 2
    assert sum(layer.parameters for layer in small.layers) < small.parameters
    assert large.activation_bytes < 17 * small.activation_bytes, "memory grows with the cells, of which there are 16x"
    assert large.flops_per_window > 30 * small.flops_per_window, "time with the pairs of cells"


def test_info_tells_the_places(capsys: pytest.CaptureFixture[str]) -> None:
    ((cell,), (transition,)) = (describe_all(*what, build=False) for what in (("st_lstm",), ("mim", "modules")))
    assert cell["places"] == ["x", "h", "c", "m"]
    assert transition["places"] == ["d", "t"]
