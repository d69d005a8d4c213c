"""The JSON schema accepts what loads and knows the installed plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from stkit.plugin.manager import plugins
from stkit.recipe.schema import recipe_schema
from stkit.recipe.shipped_files import shipped_directory
from stkit.recipe.tree import Source, plain
from stkit.recipe.yaml import parse

from ..fake_site import FakeSite
from .conftest import BASE, Recipes

SHIPPED = sorted(shipped_directory().glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def values(text: str) -> Any:
    return plain(parse(Source("test", text)))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_accepts_the_shipped_recipes(validator: jsonschema.Draft202012Validator, path: Path) -> None:
    validator.validate(values(path.read_text()))


ACCEPTED = [
    BASE,
    "extends: predrnn-sst\n",
    "extends: [a, b]\nseed: 3\n",
    "model: {cell: {kernel: 3}, layers: [4, {width: 4, cell: {bias: true}}]}\n",
    "model: {head: conv, transition: null}\n",
    "train: {loss: predrnn/decoupling, sampling: {start: 0.5}}\n",
]
REFUSED = [
    "zzz: 1\n",
    "seed: -1\n",
    "seed: many\n",
    "model: {cell: {kernal: 3}}\n",
    "model: {cell: {name: st_lstm, peephole: none}}\n",
    "model: {cell: zzz}\n",
    "model: {layers: [0]}\n",
    "model: {head: {name: channel}}\n",
    "train: {sampling: {name: zzz}}\n",
    "extends: 3\n",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_it_accepts(validator: jsonschema.Draft202012Validator, text: str) -> None:
    validator.validate(values(text))


@pytest.mark.parametrize("text", REFUSED)
def test_it_refuses(validator: jsonschema.Draft202012Validator, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(values(text))


def test_it_accepts_a_resolved_recipe(validator: jsonschema.Draft202012Validator, recipes: Recipes) -> None:
    from stkit.recipe import load

    validator.validate(values(load("base.yaml").resolved_yaml()))


def test_fields_have_their_descriptions() -> None:
    defs = recipe_schema()["$defs"]
    assert defs["TrainConfig"]["properties"]["batch_size"]["description"].startswith("Windows of one optimiser step")
    assert all("required" not in definition for definition in defs.values())


def test_a_plugins_component_is_in_it(site: FakeSite) -> None:
    code = """
    from stkit.api import CellSpec, CellConfig, hookimpl

    class Config(CellConfig):
        required: int = 3
        '''A field of that very name.'''

    @hookimpl
    def stkit_cells():
        yield CellSpec(name="mine", target="nowhere:Cell", config=f"{__name__}:Config", summary="my own")
        yield CellSpec(name="st_lstm", target="nowhere:Cell", config=f"{__name__}:Config")
    """
    site.install("mine", code)
    schema = recipe_schema()
    choices = schema["$defs"]["ModelConfig"]["properties"]["cell"]["anyOf"]
    named = [choice["properties"]["name"]["enum"] for choice in choices if "properties" in choice]
    assert ["mine", "mine/mine"] in named
    assert ["mine/st_lstm"] in named, "an ambiguous short name is not offered"
    assert ["predrnn/st_lstm"] in named
    assert "mine/st_lstm" in choices[-1]["enum"]
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate({"model": {"cell": {"name": "mine", "required": 4}}})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"model": {"cell": {"name": "mine", "required": "x"}}})
    assert "mine" in plugins().names("cells")
