"""What holds for any recipe: the algebra of layers, and that no garbage ever gives anything but a RecipeError."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stkit.errors import RecipeError
from stkit.recipe import from_dict, load
from stkit.recipe.override import override_tree
from stkit.recipe.tree import Mark, Node, Source, descend, merge, node_from, plain
from stkit.recipe.yaml import dump, parse

from .conftest import BASE

MARK = Mark(Source("test", is_file=False))

names = st.sampled_from(["a", "b", "c", "name", "layers"])
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["x", "y", ""])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
mappings = st.dictionaries(names, values, max_size=4)


def node(value: Any) -> Node:
    return node_from(value, MARK)


def merged(*layers: Any) -> Any:
    tree = node(layers[0])
    for layer in layers[1:]:
        tree = merge(tree, node(layer))
    return plain(tree)


@given(mappings)
def test_merging_is_idempotent(layer: Any) -> None:
    assert merged(layer, layer) == layer


@given(mappings)
def test_nothing_over_a_layer_and_a_layer_over_nothing_change_nothing(layer: Any) -> None:
    assert merged(layer, {}) == layer
    assert merged({}, layer) == layer


@given(mappings, mappings)
def test_merging_twice_is_merging_once(low: Any, high: Any) -> None:
    once = merged(low, high)
    assert merged(once, high) == once


@given(mappings, mappings)
def test_merging_changes_neither_layer(low: Any, high: Any) -> None:
    low_node, high_node = node(low), node(high)
    merge(low_node, high_node)
    assert (plain(low_node), plain(high_node)) == (low, high)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from leaves(child, (*path, key))
    elif not isinstance(value, dict):
        yield path, value


@given(mappings, mappings)
def test_what_the_higher_layer_says_is_what_counts(low: Any, high: Any) -> None:
    tree = merge(node(low), node(high))
    for path, value in leaves(high):
        found, reached = descend(tree, path)
        if reached == path and not isinstance(found.value, dict):
            assert plain(found) == value
        else:
            # a string over a mapping is the mapping's name
            assert plain(descend(tree, (*path, "name"))[0]) == value


@given(mappings)
def test_yaml_gives_back_what_was_written(value: Any) -> None:
    assert plain(parse(Source("test", dump(value)))) == value


@given(st.floats(allow_nan=False) | st.integers() | st.text())
@example(1e-5)
@example(1e22)
@example(float("inf"))
@example("1e-5")
@example("null")
@example("2006-04-01")
@example("on")
@example("0o17")
@example("a: b # c")
@example("\n")
@example("\x85\u2028\ufeff")
def test_every_value_survives_yaml(value: Any) -> None:
    if isinstance(value, int) and abs(value) > 10**4000:
        return
    back = plain(parse(Source("test", dump({"a": value}))))["a"]
    assert back == value
    assert type(back) is type(value)


def test_a_character_as_json_escapes_it() -> None:
    assert plain(parse(Source("test", r'a: "\ud83d\ude00"'))) == {"a": "\U0001f600"}
    with pytest.raises(RecipeError, match="half a character"):
        parse(Source("test", r'a: "\ud83d"'))


WIDTHS = st.integers(1, 8)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 10**6),
        "summary": st.text(st.characters(exclude_characters="\0\x7f", exclude_categories=["Cs"]), max_size=20),
        "train.steps": st.integers(1, 10**6),
        "train.optimiser.lr": st.floats(1e-9, 1e3),
        "train.optimiser.betas": st.just([0.5, 0.9]),
        "train.sampling": st.sampled_from([{"name": "none"}, {"name": "scheduled", "start": 0.5}]),
        "train.ema_decay": st.none() | st.floats(0.1, 0.9),
        "train.precision": st.sampled_from(["no", "bf16"]),
        "data.split": st.sampled_from([{"train": 0.5}, {"gap_steps": 0}, {}]),
        "data.extra_inputs": st.sampled_from([[], ["mask"], ["calendar", "mask"]]),
        "model.variant": st.sampled_from(["standard", "official", "paper"]),
        "model.patch": st.integers(1, 4),
        "model.cell.kernel": st.sampled_from([1, 3, 5]),
        "model.layers": WIDTHS.flatmap(lambda w: st.lists(st.just(w), min_size=1, max_size=3)),
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("properties")
    (made / "base.yaml").write_text(BASE)
    before = Path.cwd()
    os.chdir(made)
    yield made
    os.chdir(before)


def inline(value: Any) -> str:
    return json.dumps(value)  # which is YAML, too


@settings(max_examples=60)
@given(changes=CHANGES)
def test_a_resolved_recipe_loads_equal(folder: Path, changes: dict[str, Any]) -> None:
    loaded = load("base.yaml", [f"{key}={inline(value)}" for key, value in changes.items()])
    (folder / "resolved.yaml").write_text(loaded.resolved_yaml())
    again = load("resolved.yaml")
    assert again.recipe == loaded.recipe
    assert again.hash == loaded.hash
    assert again.resolved_yaml() == loaded.resolved_yaml()
    assert from_dict(loaded.recipe.model_dump()).recipe == loaded.recipe


@settings(max_examples=60)
@given(changes=CHANGES)
def test_overrides_win(folder: Path, changes: dict[str, Any]) -> None:
    loaded = load("base.yaml", [f"{key}={inline(value)}" for key, value in changes.items()])
    values = loaded.recipe.model_dump(mode="json")
    for key, value in changes.items():
        found = values
        for part in key.split("."):
            found = found[part]
        if key == "model.layers":
            found = [layer["width"] for layer in found]
        if isinstance(value, dict):
            found = {name: found[name] for name in value}
        assert found == value, key


@settings(max_examples=40)
@given(changes=CHANGES)
def test_an_overlay_and_overrides_say_the_same(folder: Path, changes: dict[str, Any]) -> None:
    overrides = [f"{key}={inline(value)}" for key, value in changes.items()]
    tree = override_tree(overrides)
    (folder / "over.yaml").write_text("{}" if tree is None else dump(plain(tree)))
    assert load("base+over").recipe == load("base.yaml", overrides).recipe


@settings(max_examples=40)
@given(changes=CHANGES)
def test_putting_an_overlay_on_twice_is_putting_it_on_once(folder: Path, changes: dict[str, Any]) -> None:
    (folder / "over.yaml").write_text(
        dump(plain(override_tree([f"{key}={inline(value)}" for key, value in changes.items()]) or node({})))
    )
    assert load("base+over+over").recipe == load("base+over").recipe


FUZZ = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
YAML_PIECES = st.lists(
    st.sampled_from(
        [
            *"{}[]:,-?&*!|>'\"%@`#\n\t ~=",
            "<<: ",
            "- ",
            "? ",
            "---\n",
            "...\n",
            "!!int ",
            "!!float ",
            "!!binary ",
            "!!set ",
            "&a ",
            "*a",
            "train",
            "model",
            "data",
            "name",
            "layers",
            "cell",
            "extends",
            "predrnn",
            "null",
            "true",
            "1e999",
            ".nan",
            "0x",
            "0o9",
            "-",
            "4",
        ]
    )
    | st.text(max_size=3),
    max_size=25,
).map("".join)


@FUZZ
@given(text=YAML_PIECES | st.text())
def test_any_text_as_a_file_gives_a_recipe_or_a_recipe_error(folder: Path, text: str) -> None:
    (folder / "fuzz.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    for ref in ("fuzz.yaml", "base+fuzz"):
        with contextlib.suppress(RecipeError):
            load(ref)


@FUZZ
@given(content=st.binary(max_size=80))
def test_any_bytes_as_a_file_give_a_recipe_or_a_recipe_error(folder: Path, content: bytes) -> None:
    (folder / "fuzz.yaml").write_bytes(content)
    with contextlib.suppress(RecipeError):
        load("base+fuzz")


SECTION_KEYS = ["seed", "data", "model", "train", "evaluate", "dataset", "split", "crop", "sampling", "loss", "metrics"]
MODEL_KEYS = ["layers", "0", "1", "99", "-1", "cell", "transition", "head", "rollout", "name", "variant", "callbacks"]
KEYS = st.lists(st.sampled_from(SECTION_KEYS + MODEL_KEYS) | st.text(max_size=4), max_size=4).map(".".join)
OVERRIDES = st.tuples(KEYS, YAML_PIECES | st.text(max_size=8)).map("=".join) | st.text(max_size=12)


@FUZZ
@given(overrides=st.lists(OVERRIDES, max_size=4))
def test_any_overrides_give_a_recipe_or_a_recipe_error(folder: Path, overrides: list[str]) -> None:
    with contextlib.suppress(RecipeError):
        load("base.yaml", overrides)


@FUZZ
@given(
    ref=st.text(max_size=20)
    | st.lists(st.sampled_from(["base", "predrnn-sst", "+", "/", ".yaml", "..", "~"])).map("".join)
)
def test_any_name_gives_a_recipe_or_a_recipe_error(folder: Path, ref: str) -> None:
    with contextlib.suppress(RecipeError):
        load(ref)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | names, inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.sampled_from(["data", "model", "train", "evaluate", "seed", "summary", "extends"])


@FUZZ
@given(values=st.dictionaries(SECTIONS | st.text(max_size=5), JSON, max_size=5))
def test_any_values_from_python_give_a_recipe_or_a_recipe_error(values: dict[str, Any]) -> None:
    with contextlib.suppress(RecipeError):
        from_dict(values)


PATHS = [
    ("seed",),
    ("data", "dataset"),
    ("data", "split", "train"),
    ("data", "crop"),
    ("model", "cell"),
    ("model", "layers"),
    ("model", "transition"),
    ("model", "head"),
    ("model", "rollout"),
    ("model", "name"),
    ("model", "variant"),
    ("train", "loss"),
    ("train", "sampling"),
    ("train", "optimiser"),
    ("train", "callbacks"),
    ("evaluate", "metrics"),
]


@FUZZ
@given(path=st.sampled_from(PATHS), value=JSON)
def test_any_value_at_a_known_place_gives_a_recipe_or_a_recipe_error(path: tuple[str, ...], value: Any) -> None:
    values = plain(parse(Source("base", BASE)))
    section = values
    for part in path[:-1]:
        section = section.setdefault(part, {})
    section[path[-1]] = value
    with contextlib.suppress(RecipeError):
        from_dict(values)
