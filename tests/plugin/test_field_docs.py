"""Docstrings under the fields of a configuration are its descriptions."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field

from stkit.plugin.config import Config
from stkit.plugin.field_docs import field_docs
from stkit.plugin.manager import plugins
from stkit.recipe.model import Recipe


class Plain(BaseModel):
    """As pydantic itself describes fields."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    width: int = 1
    """How wide
        it is."""
    bare: int = 2
    said: int = Field(3, description="said in the field")
    """Not told."""


class Ours(Config):
    """The same in a configuration."""

    width: int = 1
    """How wide
        it is."""
    bare: int = 2
    said: int = Field(3, description="said in the field")
    """Not told."""


class Child(Ours):
    """Describes one field anew, and annotates another without a docstring."""

    bare: int = 4
    """No longer bare."""
    width: int = 5
    own: Ours | None = None
    """One inside."""


def test_they_are_those_that_pydantic_finds() -> None:
    theirs = {name: field.description for name, field in Plain.model_fields.items() if field.description}
    assert field_docs(Ours) == theirs == {"width": "How wide\nit is.", "said": "said in the field"}


def test_an_inherited_field_keeps_its_description_until_it_is_annotated_anew() -> None:
    assert field_docs(Child) == {"bare": "No longer bare.", "said": "said in the field", "own": "One inside."}


def test_they_stand_in_the_json_schema() -> None:
    schema = Child.model_json_schema()
    told = {name: value.get("description") for name, value in schema["properties"].items()}
    assert told == {"bare": "No longer bare.", "said": "said in the field", "own": "One inside.", "width": None}
    inside = schema["$defs"]["Ours"]["properties"]
    expected = Plain.model_json_schema()["properties"]
    assert {name: value.get("description") for name, value in inside.items()} == {
        name: value.get("description") for name, value in expected.items()
    }


@pytest.mark.parametrize("first", [True, False])
def test_classes_of_one_name_are_told_apart(first: bool) -> None:
    if first:

        class Twin(Config):
            """One."""

            one: int = 1
            """The first."""

    else:

        class Twin(Config):  # type: ignore[no-redef]
            """Another."""

            one: int = 1
            """The second."""

    assert field_docs(Twin) == {"one": "The first." if first else "The second."}


def test_a_class_without_source_has_none() -> None:
    made: dict[str, type[Config]] = {}
    exec("class Made(Config):\n    one: int = 1\n    'Said.'", {"Config": Config, "__name__": "nowhere"}, made)
    assert field_docs(made["Made"]) == {}


def test_every_field_of_a_recipe_and_of_what_ships_is_described() -> None:
    kinds = ("cells", "modules", "losses", "metrics", "baselines", "datasets", "callbacks", "exporters")
    every = [Recipe, *(spec.load_config() for kind in kinds for spec in plugins().specs(kind))]
    lacking = {(one.__name__, name) for one in every for name in one.model_fields.keys() - field_docs(one).keys()}
    sections = {("Recipe", name) for name in ("data", "model", "train", "evaluate")}
    assert lacking <= sections
