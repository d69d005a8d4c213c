"""The fields of the page on when modules help are what it says, and its tables are those of the records."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from typing import Any

import numpy as np
import pytest

from stkit.cli.commands.ablate import spread
from stkit.data.prepare import prepare
from stkit.data.synthetic_field import SyntheticField
from stkit.recipe import load
from tests.docs.pages import DOCS, commands

PAGE = DOCS / "guides" / "when-modules-help.md"
FIELDS = ("field-still", "field-wandering", "field-trend", "field-swelling", "field-fast")


def field(name: str) -> SyntheticField:
    return SyntheticField(load(name).recipe.data.dataset)


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_is_on_the_page_and_differs_from_the_first_in_its_data_alone(name: str) -> None:
    assert f"| `{name}` |" in PAGE.read_text(encoding="utf-8")
    recipe, first = load(name).recipe, load(FIELDS[0]).recipe
    assert recipe.model_copy(update={"data": first.data, "summary": first.summary}) == first
    assert recipe.data.model_copy(update={"dataset": first.data.dataset}) == first.data


def test_on_the_still_field_damped_persistence_is_the_best_possible_forecast() -> None:
    still, recipe = field("field-still"), load("field-still").recipe.data
    law = still.law
    now = later = law.prior(0)
    total, damped = now[..., 0, 0].real.mean(), []
    for _ in range(recipe.horizon):
        later = law.step @ later
        damped.append(total - later[..., 0, 0].real.mean() ** 2 / total)
    best = still.optimum(recipe.input_steps).squared_error(0, recipe.horizon)[:, 0]
    np.testing.assert_allclose(best, damped, rtol=1e-9)


def test_nothing_calls_the_wandering_field_back_and_its_change_can_be_forecast() -> None:
    wandering = field("field-wandering")
    assert not wandering.law.stationary
    assert (wandering.law.propagator == 1).all()
    half = wandering.steps // 2
    early, late = (wandering.law.prior(time)[..., 0, 0].real.mean() for time in (half, wandering.steps))
    assert late == pytest.approx(2 * early, rel=0.02), "the variance grows with time"
    change = np.diff(wandering.sea, axis=0)
    assert np.corrcoef(change[:-1].ravel(), change[1:].ravel())[0, 1] == pytest.approx(math.exp(-1 / 4), abs=0.05)


def parts(name: str) -> tuple[slice, slice]:
    """Steps of the training part and of the test part."""
    data = prepare(load(name).recipe.data, 0)
    ends = [(part.start(0), part.start(len(part) - 1) + part.frames) for part in (data.train, data.test)]
    train, test = (slice(*end) for end in ends)
    return train, test


def test_the_trend_carries_the_test_part_beyond_the_training_part() -> None:
    trend = field("field-trend")
    train, test = (trend.sea[part] for part in parts("field-trend"))
    assert test.mean() > np.quantile(train, 0.95)
    steady = field("field-still")
    train, test = (steady.sea[part] for part in parts("field-still"))
    assert abs(test.mean() - train.mean()) < train.std() / 2


def test_the_swelling_field_swells() -> None:
    swelling = field("field-swelling")
    train, test = (swelling.sea[part] for part in parts("field-swelling"))
    assert test.std() > 2 * train.std()


def test_the_fast_field_moves_further_than_two_layers_of_kernels_see() -> None:
    recipe = load("field-fast").recipe
    sees = len(recipe.model.layers) * (recipe.model.cell.kernel // 2) * recipe.model.patch
    assert recipe.data.dataset.velocity_x > sees


# ------------------------------------------------------------------------------------------------- what was found

RECORDS = {name: DOCS / "records" / "ablation" / f"{name}.json" for name in FIELDS}


@pytest.fixture(scope="module")
def found() -> Any:
    """The module that writes the tables."""
    if str(DOCS / "_ext") not in sys.path:
        sys.path.insert(0, str(DOCS / "_ext"))
    spec = importlib.util.spec_from_file_location("field_ablations", DOCS / "_ext" / "field_ablations.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def content(name: str) -> Any:
    return json.loads(RECORDS[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FIELDS)
def test_the_page_shows_the_command_of_each_record(name: str) -> None:
    about = content(name)["about"]
    shown = [command.arguments for command in commands() if command.page == PAGE]
    (arguments,) = [each for each in shown if each[:2] == ("ablate", name)]
    said = spread(list(arguments[2:]))
    options = list(zip(said[::2], said[1::2], strict=True))
    assert [value for option, value in options if option == "--grid"] == [
        f"{axis}={','.join(values)}" for axis, values in about["grid"].items()
    ]
    assert ("--seeds", str(len(about["seeds"]))) in options
    assert ("--budget", about["budget"]) in options
    assert about["ref"] == name
    assert about["overrides"] == []


@pytest.mark.parametrize("name", FIELDS)
def test_errors_and_words_are_those_of_the_record(name: str, found: Any) -> None:
    comparison = content(name)["comparison"]
    members = {member["name"]: member for member in comparison["members"]}
    (best,) = members.pop("optimal")["overall"]["field"]
    rows = found.rows(found.load(name))
    assert len({row.label for row in rows}) == len(rows) == len(members)
    for row, member in zip(rows, members.values(), strict=True):
        assert row.ratios == pytest.approx([(value / best) ** 0.5 for value in member["overall"]["field"]])
        words = {one["second"]: one["word"] for one in comparison["compared"] if one["first"] == member["name"]}
        assert row.against_plain == words.get("attention=none nonstationary=none")
        assert row.against_bar == words.get("damped_anomaly")
    table = "\n".join(found.field_table({}, name))
    assert table in PAGE.read_text(encoding="utf-8")


def test_every_expectation_was_tried_and_is_on_the_page(found: Any) -> None:
    assert tuple(found.EXPECTED) == FIELDS
    tried = [(name, module) for name in FIELDS for module in found.EXPECTED[name]]
    lines = list(found.expected_table({}, ""))[2:]
    assert len(lines) == len(tried)
    counts = [sum(line.endswith(f"| {end} |") for line in lines) for end in ("as expected", "**not**", "undecided")]
    right, wrong, undecided = counts
    assert sum(counts) == len(tried)
    said = f"Of {len(tried)} expectations {right} came out, {wrong} did not, {undecided} could not be decided."
    assert said in PAGE.read_text(encoding="utf-8")


def test_the_figure_has_a_panel_for_each_field(found: Any, tmp_path: Any) -> None:
    spec = importlib.util.spec_from_file_location("field_figures", DOCS / "_ext" / "field_figures.py")
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    from stkit.evaluate.figures.canvas import LIGHT, WIDE

    figure = figures.figure_of({name: found.rows(found.load(name)) for name in FIELDS}, LIGHT, WIDE)
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()]
    assert titles == list(FIELDS)
