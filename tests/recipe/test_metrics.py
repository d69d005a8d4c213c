"""Scores in a recipe: by name or with options, each under a name that says them; each mistake told."""

from __future__ import annotations

import jsonschema
import pytest

from stkit.errors import RecipeError
from stkit.recipe import from_dict, load
from stkit.recipe.schema import recipe_schema

from .conftest import Recipes

CHOSEN = (
    "evaluate.metrics=[rmse, {name: csi, threshold: [0.5, 1.0, p90]}, {name: fss, threshold: 1, scale: [1, 9]}, "
    "{name: max_csi, threshold: 5, pool: 4}, {name: far, threshold: 2, variable: rain}]"
)
NAMES = ["rmse", "csi_0.5", "csi_1", "csi_p90", "fss_1_scale1", "fss_1_scale9", "max_csi_5_pool4", "far_rain_2"]


def test_every_value_of_an_option_has_a_score_of_its_name(recipes: Recipes) -> None:
    scores = load("base.yaml", [CHOSEN]).recipe.evaluate.scores
    assert list(scores) == NAMES
    assert scores["csi_1"].model_dump() == {"name": "csi", "threshold": 1.0, "variable": None}
    assert scores["fss_1_scale9"].model_dump()["scale"] == 9


def test_written_out_and_read_again_it_is_the_same(recipes: Recipes) -> None:
    loaded = load("base.yaml", [CHOSEN])
    recipes.write("again.yaml", loaded.resolved_yaml())
    assert load("again.yaml").recipe.evaluate == loaded.recipe.evaluate
    assert loaded.recipe.model_dump()["evaluate"]["metrics"][0] == "rmse", "a bare name stays one"


def test_the_schema_knows_the_options(recipes: Recipes) -> None:
    schema = recipe_schema()
    jsonschema.validate(load("base.yaml", [CHOSEN]).recipe.model_dump(mode="json"), schema)
    for wrong in ({"name": "csi", "threshold": "90"}, {"name": "csi", "treshold": 1}, "rsme"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"evaluate": {"metrics": [wrong]}}, schema)


MISTAKES = {
    "[rmse, rsme]": "evaluate.metrics.1: no metric is called 'rsme'; did you mean 'rmse'",
    "[csi]": "evaluate.metrics.0.threshold: is missing",
    "[{name: csi, treshold: 1}]": "evaluate.metrics.0.treshold: there is no such key; did you mean 'threshold'",
    "[{name: csi, threshold: [1, 1.0]}]": "evaluate.metrics.0.threshold: 1 is given twice",
    "[{name: csi, threshold: []}]": "evaluate.metrics.0.threshold: should be a value or a list of some",
    "[{name: fss, threshold: 1, scale: 4}]": "evaluate.metrics.0.scale: a neighbourhood has a cell in its middle: its "
    "side is an odd number, not 4",
    "[{name: rmse, threshold: 1}]": "evaluate.metrics.0.threshold: there is no such key",
}


@pytest.mark.parametrize("value", MISTAKES)
def test_mistakes(recipes: Recipes, value: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load("base.yaml", [f"evaluate.metrics={value}"])
    assert MISTAKES[value] in str(caught.value)


def test_a_threshold_that_is_no_number_and_no_percentile(recipes: Recipes) -> None:
    with pytest.raises(RecipeError, match=r"evaluate\.metrics\.0\.threshold: .*received 'high'"):
        load("base.yaml", ["evaluate.metrics=[{name: csi, threshold: high}]"])


def test_from_python_too(recipes: Recipes) -> None:
    values = load("base.yaml").recipe.model_dump()
    values["evaluate"] = {"metrics": [{"name": "pod", "threshold": 2}]}
    assert list(from_dict(values).recipe.evaluate.scores) == ["pod_2"]
