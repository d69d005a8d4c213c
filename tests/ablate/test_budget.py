"""Budgets, and recipes that are scaled to them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.ablate.budget import Budget, Length, Pace, length_of, overrides, parse_budget
from stkit.ablate.timing import main, measure
from stkit.errors import UsageError
from stkit.recipe import load
from stkit.train.sampling import probabilities
from stkit.train.schedule import factor


@pytest.mark.parametrize(
    ("text", "budget", "shown"),
    [
        ("300s", Budget("seconds", 300), "300s"),
        ("5min", Budget("seconds", 300), "300s"),
        ("1.5h", Budget("seconds", 5400), "5400s"),
        ("400steps", Budget("steps", 400), "400steps"),
        ("1 step", Budget("steps", 1), "1steps"),
    ],
)
def test_what_a_budget_may_be(text: str, budget: Budget, shown: str) -> None:
    assert parse_budget(text) == budget
    assert str(budget) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("300", "300s or 300steps?"),
        ("", "expected seconds or steps"),
        ("fast", "expected seconds or steps"),
        ("-3s", "expected seconds or steps"),
        ("1e3s", "expected seconds or steps"),
        ("2.5steps", "steps are whole"),
        ("0s", "too small for one evaluation"),
        ("0steps", "too small for one evaluation"),
    ],
)
def test_what_is_no_budget_is_told(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_budget(text)
    assert str(caught.value).startswith(f"--budget {text}: ")
    assert message in str(caught.value)


@given(st.text(max_size=12))
@settings(max_examples=100)
def test_any_text_is_a_budget_or_one_message(text: str) -> None:
    found = budget_or_message(text)
    assert found.startswith("--budget") if isinstance(found, str) else found.amount > 0


def budget_or_message(text: str) -> Budget | str:
    try:
        return parse_budget(text)
    except UsageError as error:
        return str(error)


@given(st.floats(1, 1e5), st.floats(1e-4, 100), st.floats(0, 100), st.integers(1, 10_000), st.integers(1, 1000))
@settings(max_examples=40)
def test_seconds_are_kept_and_used(seconds: float, step: float, validation: float, steps: int, every: int) -> None:
    recipe = load("predrnn-sst", [f"train.steps={steps}", f"train.evaluate_every_steps={every}"]).recipe
    pace = Pace(step, validation)
    if step + validation > seconds:
        with pytest.raises(UsageError, match="too small for one evaluation of cell: a step takes"):
            length_of(recipe, Budget("seconds", seconds), pace, "cell")
        return
    length = length_of(recipe, Budget("seconds", seconds), pace, "cell")
    taken = length.steps * step + length.validations * validation
    assert taken <= seconds * (1 + 1e-9)
    assert taken + step > seconds - validation * (math.ceil(steps / every) - length.validations + 1) - 1e-6
    assert 1 <= length.validations <= min(length.steps, math.ceil(steps / every))
    assert length.validations == 1 or length.validations * validation <= 0.3 * seconds * (1 + 1e-9)


def test_steps_are_taken_as_they_are() -> None:
    recipe = load("predrnn-sst").recipe
    assert length_of(recipe, Budget("steps", 100), None, "cell") == Length(100, 16)
    assert length_of(recipe, Budget("steps", 5), None, "cell") == Length(5, 5)


@pytest.mark.parametrize("steps", [7, 100, 400, 3000])
def test_schedules_are_the_same_at_the_same_share_of_the_way(steps: int) -> None:
    base = load("predrnn-sst")
    scaled = load("predrnn-sst", overrides(base.recipe, Length(steps, min(16, steps)))).recipe
    train, before = scaled.train, base.recipe.train
    assert train.steps == steps
    assert train.early_stopping is None
    assert math.ceil(steps / train.evaluate_every_steps) <= 16
    for share in (0.0, 0.1, 0.25, 0.4, 0.75):
        then, now = share * before.steps, share * steps
        got, expected = (probabilities(one.sampling, at)[1] for one, at in ((train, now), (before, then)))
        assert got == pytest.approx(expected, abs=1e-6)
        if steps >= 100 and share > 0.1:
            got = factor(train.schedule, round(now), train.steps)
            assert got == pytest.approx(factor(before.schedule, round(then), before.steps), abs=0.02)


def test_reverse_sampling_is_scaled_too() -> None:
    base = load("predrnn-sst+reverse-sampling")
    scaled = load("predrnn-sst+reverse-sampling", overrides(base.recipe, Length(40, 2))).recipe.train
    for share in (0.0, 30.0, 70.0, 200.0):
        got, expected = (
            probabilities(scaled.sampling, share * 40),
            probabilities(base.recipe.train.sampling, share * 400),
        )
        assert got == pytest.approx(expected, abs=1e-6)


def test_one_step_is_a_recipe_too() -> None:
    base = load("predrnn-sst")
    assert load("predrnn-sst", overrides(base.recipe, Length(1, 1))).recipe.train.evaluate_every_steps == 1


def test_the_recipe_as_it_is_stays_as_it_is() -> None:
    base = load("predrnn-sst", ["train.early_stopping=null"])
    train = base.recipe.train
    length = length_of(base.recipe, Budget("steps", train.steps), None, "cell")
    assert load("predrnn-sst", overrides(base.recipe, length)).recipe == base.recipe


def test_the_pace_is_measured(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pace = measure(load(str(recipe)), 0.0)
    assert 0 < pace.step_seconds < 60
    assert 0 < pace.validation_seconds < 60
    broken = recipe.with_name("broken.yaml")
    broken.write_text(recipe.read_text().replace("field.nc", "nothing.nc"))
    assert main([str(broken), "0"]) == 2
    assert "nothing.nc" in capsys.readouterr().err
