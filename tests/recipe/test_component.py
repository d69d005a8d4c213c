"""The marker that makes a field a choice among installed components."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from stkit.api import Component, ComponentConfig, Config
from stkit.errors import PluginError, RecipeError
from stkit.recipe import load

from ..fake_site import FakeSite
from .conftest import Recipes

CODE = """
from typing import Annotated
from pydantic import Field
from stkit.api import CellConfig, CellSpec, Component, ComponentConfig, Config, LossSpec, hookimpl

class Inner(Config):
    depth: int = Field(1, ge=1)

class Mine(ComponentConfig):
    weight: float = Field(ge=0)
    inner: Inner = Inner()
    other: Annotated[ComponentConfig, Component("losses")] | None = None

class NoConfig:
    pass

@hookimpl
def stkit_losses():
    yield LossSpec(name="mine", target="nowhere:Loss", config=f"{__name__}:Mine")
    yield LossSpec(name="no_module", target="nowhere:Loss", config="does_not_exist:Mine")
    yield LossSpec(name="no_class", target="nowhere:Loss", config=f"{__name__}:Missing")
    yield LossSpec(name="no_config", target="nowhere:Loss", config=f"{__name__}:NoConfig")
    yield LossSpec(name="no_string", target="nowhere:Loss", config="nothing")
"""


class Holder(Config):
    loss: Annotated[ComponentConfig, Component("losses")]


@pytest.fixture(autouse=True)
def _mine(site: FakeSite) -> None:
    site.install("mine", CODE)


def test_a_mapping_is_checked_by_the_plugins_class() -> None:
    loss = Holder.model_validate({"loss": {"name": "mine", "weight": 2}}).loss
    assert type(loss).__name__ == "Mine"
    assert (loss.weight, loss.inner.depth) == (2.0, 1)
    assert Holder(loss=loss).loss is loss, "a checked value is taken as it is"
    assert Holder.model_validate({"loss": "mse"}).loss.name == "mse"


def test_it_is_written_in_full() -> None:
    holder = Holder.model_validate({"loss": {"name": "mine", "weight": 2, "other": "mse"}})
    expected = {"name": "mine", "weight": 2.0, "inner": {"depth": 1}, "other": {"name": "mse"}}
    assert holder.model_dump()["loss"] == expected
    assert holder.model_dump(mode="json")["loss"] == expected
    assert Holder.model_validate_json(holder.model_dump_json()) == holder


def test_errors_inside_keep_their_place() -> None:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"loss": {"name": "mine", "inner": {"depth": 0}, "other": {"name": "zzz"}}})
    assert [error["loc"] for error in caught.value.errors()] == [
        ("loss", "weight"),
        ("loss", "inner", "depth"),
        ("loss", "other", "name"),
    ]


def test_errors_inside_a_component_in_a_recipe(recipes: Recipes) -> None:
    recipes.write(
        "over.yaml", "train:\n  loss:\n    name: mine\n    inner: {depth: 0, dept: 1}\n    other: {name: mze}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load("base+over")
    lines = [line for line in str(caught.value).splitlines() if not line.startswith(" ")]
    assert lines[0] == "over.yaml:2:3: train.loss.weight: is missing"
    assert lines[1] == "over.yaml:4:20: train.loss.inner.depth: should be at least 1; received 0"
    assert lines[2] == "over.yaml:4:23: train.loss.inner.dept: there is no such key; did you mean 'depth'?"
    assert lines[3].startswith("over.yaml:5:19: train.loss.other.name: no loss is called 'mze'; did you mean 'mse'")


BROKEN = {
    "no_module": "cannot be imported: ModuleNotFoundError: No module named 'does_not_exist'",
    "no_class": "cannot be imported: AttributeError",
    "no_config": "must be a subclass of stkit.api.ComponentConfig",
    "no_string": "cannot be imported: ValueError: expected '<module>:<attribute>', got 'nothing'",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plugin_whose_configuration_is_broken_is_named(name: str) -> None:
    with pytest.raises(PluginError) as caught:
        Holder.model_validate({"loss": name})
    assert str(caught.value).startswith("the configuration ")
    assert f"of 'mine/{name}' (stkit-mine 1.0) " in str(caught.value)
    assert BROKEN[name] in str(caught.value)


def test_braces_in_a_name_are_told_as_they_are() -> None:
    adapter = TypeAdapter(Annotated[ComponentConfig, Component("losses")])
    with pytest.raises(ValidationError, match=r"no loss is called '\{loss\}'"):
        adapter.validate_python("{loss}")
