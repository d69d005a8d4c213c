"""``model.nonstationary``: what a recipe may say, what is refused and why, and the overlay on every shipped recipe."""

from __future__ import annotations

import pytest

from stkit.errors import DataError, RecipeError
from stkit.modules.nonstationary.config import DifferencingConfig, TrendSeasonConfig
from stkit.plugin.manager import plugins
from stkit.recipe import load
from stkit.recipe.dryrun import dry_run

from .conftest import Recipes

WINDOWS = "data.input_steps=16"


def told(*overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load("base.yaml", overrides)
    return str(caught.value)


def test_a_name_or_a_mapping(recipes: Recipes) -> None:
    short, long = (
        load("base.yaml", [f"model.nonstationary={value}"]).recipe.model.nonstationary
        for value in ("differencing", "{name: differencing, order: 1, season: null}")
    )
    assert short == long == DifferencingConfig(name="differencing")
    changed = load("base.yaml", ["model.nonstationary=differencing", "model.nonstationary.name=trend_season"])
    assert changed.recipe.model.nonstationary == TrendSeasonConfig(name="trend_season")


def test_null_takes_it_away_and_leaves_the_recipe_as_it_was(recipes: Recipes) -> None:
    recipes.write("with.yaml", "extends: base\nmodel:\n  nonstationary: reversible_norm\n")
    plain, without = load("base.yaml"), load("with.yaml", ["model.nonstationary=null"])
    assert without.hash == plain.hash != load("with.yaml").hash
    assert "nonstationary" not in plain.resolved_yaml(), "a run from before there was any still has its hash"


def test_the_resolved_recipe_says_all_of_it(recipes: Recipes) -> None:
    loaded = load("base.yaml", ["model.nonstationary={name: trend_season, season: 12}", WINDOWS])
    recipes.write("resolved.yaml", loaded.resolved_yaml())
    assert load("resolved.yaml").hash == loaded.hash
    for key in ("trend: true", "season: 12", "harmonics:", "window:"):
        assert key in loaded.resolved_yaml()


REFUSED = {
    "differencin": "model.nonstationary: no module for the slot 'nonstationary' is called 'differencin'; "
    "did you mean 'differencing'?",
    "mim": "model.nonstationary: the module 'mim' fits the slot 'transition', not 'nonstationary'; known: ",
    "{name: differencing, lag: 2}": "model.nonstationary.lag: there is no such key",
    "{name: differencing, order: 0}": "model.nonstationary: differencing of order 0 without a season changes nothing; "
    "give one of them",
    "{name: differencing, season: 1}": "model.nonstationary.season: should be at least 2",
    "{name: differencing, order: 3}": "model.nonstationary: differencing: differences of order 3 look back 3 steps, "
    "and the model is given 3 steps; set data.input_steps to at least 4, or take less",
    "{name: differencing, season: 12}": "model.nonstationary: differencing: differences of order 1 with a season of 12 "
    "steps look back 13 steps, and the model is given 3 steps; set data.input_steps to at least 14, or take less",
    "{name: trend_season, season: 12}": "model.nonstationary: trend_season: a fit of 6 terms and a season of 12 steps "
    "needs at least 13 steps, and the model is given 3 steps; set data.input_steps to 13 or more, or take less",
    "{name: trend_season, harmonics: 2}": "model.nonstationary: 2 harmonics of no season; give the season, or leave "
    "them out",
    "{name: trend_season, season: 5, harmonics: 3}": "model.nonstationary: a season of 5 steps has at most 2 harmonics",
    "{name: trend_season, season: 12, window: 9}": "model.nonstationary: a window of 9 frames is too short; the fit "
    "needs 12",
    "{name: reversible_norm, smallest_deviation: 0}": "model.nonstationary.smallest_deviation: should be greater than "
    "0",
}


@pytest.mark.parametrize("value", REFUSED)
def test_what_is_refused(recipes: Recipes, value: str) -> None:
    assert f"override 'model.nonstationary={value}': {REFUSED[value]}" in told(f"model.nonstationary={value}")


def test_cells_by_themselves_need_two_steps(recipes: Recipes) -> None:
    found = told("model.nonstationary={name: reversible_norm, level: cell}", "data.input_steps=1")
    assert "the mean of a cell over one step is the step itself; set data.input_steps to at least 2" in found
    assert load("base.yaml", ["model.nonstationary=reversible_norm", "data.input_steps=1"]).recipe


@pytest.mark.parametrize("departure", ["persistence", "damped_anomaly", "climatology"])
@pytest.mark.parametrize("module", ["differencing", "reversible_norm", "trend_season"])
def test_two_levels_are_refused_with_the_reason(recipes: Recipes, module: str, departure: str) -> None:
    text = (recipes.folder / "base.yaml").read_text()
    text = text.replace("  layers: [4, 4]\n", f"  layers: [4, 4]\n  nonstationary: {module}\n")
    recipes.write("base.yaml", text.replace("  horizon: 2\n", f"  horizon: 2\n  departure_from: {departure}\n"))
    found = told()
    assert found.startswith(
        f"base.yaml:10:18: model.nonstationary: {module} says itself around which level the next frame lies, and so "
        f"does data.departure_from: {departure}; set data.departure_from to none, or model.nonstationary to null"
    )


def test_a_head_or_a_loss_that_is_bounded_is_refused(recipes: Recipes) -> None:
    found = told("model.nonstationary=differencing", "model.head.activation=sigmoid", "train.loss={name: bce}")
    assert "model.head.activation: with differencing the head says how far the next frame lies from its level" in found
    assert "train.loss: bce scores probabilities, and what differencing makes of the head's answer is none" in found


def test_a_season_longer_than_the_record_is_refused_before_training(recipes: Recipes) -> None:
    """The context must hold the season, and then no window fits into the record."""
    from stkit.data.prepare import prepare

    changes = ["model.nonstationary={name: differencing, order: 0, season: 60}", "data.input_steps=61"]
    with pytest.raises(DataError, match=r"train part has .* time steps .*but one window needs 63"):
        prepare(load("base.yaml", changes).recipe.data, 0)


def test_a_dry_run_has_it_in_the_count(recipes: Recipes) -> None:
    plain, normed = dry_run(load("base.yaml")), dry_run(load("base.yaml", ["model.nonstationary=reversible_norm"]))
    assert normed.parameters == plain.parameters + 2
    assert (plain.nonstationary, plain.nonstationary_parameters) == (None, 0)
    assert (normed.nonstationary, normed.nonstationary_parameters) == ("reversible_norm", 2)
    for value in ("differencing", "{name: trend_season, window: 5}"):
        assert dry_run(load("base.yaml", [f"model.nonstationary={value}"])).parameters == plain.parameters


def _bases() -> list[str]:
    overlays = {"attention", "mnist", "netcdf", "nonstationary", "radar", "recall", "reverse-sampling", "sst", "wind"}
    return [spec.name for spec in plugins().specs("recipes") if spec.plugin == "stkit" and spec.name not in overlays]


@pytest.mark.parametrize("name", _bases())
def test_the_overlay_goes_on_every_recipe(name: str) -> None:
    """But for cross-entropy, which scores probabilities: that is said, and with another loss it goes on, too."""
    loss = load(name).recipe.train.loss.name
    changes: list[str] = []
    if loss == "bce":
        with pytest.raises(RecipeError, match="take a loss such as mse") as caught:
            load(f"{name}+nonstationary")
        assert len(caught.value.problems) == 1
        changes = ["train.loss={name: mse}"]
    composed = load(f"{name}+nonstationary", changes).recipe
    assert composed.model.nonstationary == DifferencingConfig(name="differencing")
    assert composed.data.departure_from == "none"
    assert composed.model.head.model_dump()["zero_init"] is True
    assert composed.train.loss.name == (loss if loss != "bce" else "mse"), "the task stays what it is"
