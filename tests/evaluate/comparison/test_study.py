"""Whole studies: which comparisons there are, what they are called, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from stkit.errors import DataError
from stkit.evaluate.comparison import study as studies
from stkit.evaluate.comparison.group import Group
from stkit.evaluate.comparison.saved import study_of
from stkit.evaluate.comparison.study import Study, study
from stkit.evaluate.comparison.tables import compared_tables, cost_table, scores_table
from stkit.evaluate.comparison.words import ends, finding, not_ranked, p_text, worth
from tests.evaluate.comparison.made_up import HORIZON, autoregression, group, run_errors, weather


def made(windows: int, factors: dict[str, float], seeds: int = 3, **said: object) -> list[Group]:
    """Recipes whose errors are those of the weather times a factor, and two baselines."""
    rng = np.random.default_rng(0)
    hard = weather(rng, windows)
    baselines = {"persistence": 2 * hard, "damped_anomaly": hard + 0.1 * rng.normal(size=hard.shape)}
    noise = 0.3 * autoregression(rng, 0.4, (len(factors), seeds, HORIZON, windows)).swapaxes(2, 3)
    return [
        group(name, factor * hard + own, baselines, **said)
        for (name, factor), own in zip(factors.items(), noise, strict=True)
    ]


def words(found: Study) -> dict[tuple[str, str], str]:
    return {(one.first, one.second): one.word for one in found.compared}


def test_each_against_the_first_and_against_each_baseline() -> None:
    found = study(made(90, {"plain": 1.0, "good": 0.85, "same": 1.0, "bad": 1.2}))
    said = words(found)
    assert [pair for pair in said if pair[1] == "plain"] == [("good", "plain"), ("same", "plain"), ("bad", "plain")]
    assert len(said) == 3 + 2 * 4
    assert said["good", "plain"] == said["good", "persistence"] == said["good", "damped_anomaly"] == "better"
    assert said["same", "plain"] == said["plain", "damped_anomaly"] == "not distinguishable"
    assert said["bad", "plain"] == said["bad", "damped_anomaly"] == "worse"
    assert said["bad", "persistence"] == "better"
    sentences = " ".join(finding(found))
    assert "Against plain: better: good (" in sentences
    assert "not distinguishable: same (" in sentences
    assert "All 4 are better than persistence." in sentences
    assert "90 test windows (15 blocks of 6), 3 seeds each; 11 comparisons, held to 5 % together" in worth(found)


def test_holm_decides_the_words() -> None:
    found = study(made(90, {"plain": 1.0, "slightly": 0.97, "same": 1.0, "again": 1.0}))
    for one in found.compared:
        overall = one.paired.overall
        assert one.p_adjusted is not None
        assert overall.p is not None
        assert one.p_adjusted >= overall.p
        called = one.word in ("better", "worse")
        assert called == (one.p_adjusted <= 0.05)
        assert not called or not (overall.low <= 0 <= overall.high)


def test_a_set_of_equal_recipes_is_rarely_said_to_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a family: at most 5 % of all sets of comparisons name a difference that is not there."""
    monkeypatch.setattr(studies, "RESAMPLES", 499)
    monkeypatch.setattr(studies, "_RESAMPLES_FOR_EACH", 100)
    rng, many, named = np.random.default_rng(5), 40, 0
    for _ in range(many):
        hard = weather(rng, 60, 1)
        groups = [
            group(name, hard + 0.3 * rng.normal(size=(3, 1, 1)) + rng.normal(size=(3, 60, 1)), {}) for name in "abcd"
        ]
        named += any(one.word != "not distinguishable" for one in study(groups).compared)
    assert named <= 0.05 * many + 3 * math.sqrt(many * 0.05 * 0.95)


def test_too_short_a_test_part_ranks_nothing_and_says_what_would_do() -> None:
    found = study(made(7, {"plain": 1.0, "good": 0.5}))
    assert set(words(found).values()) == {"not ranked"}
    assert not found.rankable
    (sentence,) = finding(found)
    assert sentence == (
        "Nothing can be ranked: 7 test windows of 4 input and 2 forecast steps make 1.2 independent blocks, and an "
        "interval needs 5: 30 test windows, a test part of 35 steps, would be needed."
    )
    assert worth(found) == "7 test windows, 3 seeds each."
    assert all(one.diebold_mariano is None for one in found.compared)
    scores = scores_table(found, "sst")
    assert len(scores.rows) == 2 * 3 + 2, "the scores are shown all the same"


def test_sequences_are_blocks_by_themselves() -> None:
    found = study(made(40, {"plain": 1.0, "good": 0.5}, share_steps=False))
    assert (found.block, found.blocks, found.windows_needed, found.steps_needed) == (1, 40, 5, None)
    assert words(found)["good", "plain"] == "better"
    assert "40 test windows (each by itself)" in worth(found)
    few = study(made(4, {"plain": 1.0, "good": 0.5}, share_steps=False))
    assert finding(few) == ["Nothing can be ranked: 4 test sequences; an interval needs 5."]


def test_wide_strides_make_short_blocks() -> None:
    assert study(made(30, {"plain": 1.0}, stride=3)).block == 2
    far = study(made(30, {"plain": 1.0}, stride=6))
    assert far.block == 1
    assert far.steps_needed == 4 * 6 + 6


def test_one_seed_is_said() -> None:
    found = study(made(60, {"plain": 1.0, "good": 0.8}, seeds=1))
    assert worth(found).endswith("With one seed the words are about these weights, not about the recipes.")
    one, two = made(60, {"plain": 1.0, "good": 0.8})
    single = Group(two.name, two.seeds[:1], two.runs[:1], two.errors[:1], two.cost)
    assert "good with one seed" in worth(study([one, single]))


def test_the_best_possible_forecast_is_shown_and_not_compared() -> None:
    groups = made(60, {"plain": 1.0})
    (errors,) = {id(one): one for one in groups[0].errors[:1]}.values()
    squared = np.concatenate([errors.errors.squared, 0.5 * errors.errors.squared[:1]])
    layout = replace(errors.layout, forecasts=(*errors.layout.forecasts, "optimal"))
    known = replace(errors, layout=layout, errors=errors.errors._replace(squared=squared))
    found = study([Group("plain", (0,), ("runs/0",), (known,))])
    assert "best possible" in [row[0] for row in scores_table(found, "sst").rows]
    assert {one.second for one in found.compared} == {"persistence", "damped_anomaly"}


def test_each_variable_has_its_own_comparisons_and_one_correction() -> None:
    said = {"variables": ("u", "v")}
    found = study(made(150, {"plain": 1.0, "good": 0.7}, **said))
    assert len(found.compared) == 2 * (1 + 2 * 2)
    assert [sentence.partition(":")[0] for sentence in finding(found)].count("u") >= 1
    assert "10 comparisons" in worth(found)
    assert len(found.of_variable("v")) == 5


def test_absolute_errors_can_be_compared_instead() -> None:
    groups = made(60, {"plain": 1.0, "good": 0.7})
    squared, absolute = study(groups), study(groups, score="mae")
    assert scores_table(absolute, "sst").rows != scores_table(squared, "sst").rows
    expected = np.mean([errors.errors.absolute[0] for errors in groups[1].errors])
    assert np.mean(absolute.trained[1].overall["sst"]) == pytest.approx(expected)


def test_tables() -> None:
    found = study(made(90, {"plain": 1.0, "good": 0.8}))
    tables = compared_tables(found.compared)
    assert list(tables) == ["plain", "persistence", "damped anomaly"]
    assert tables["plain"].rows[0][:2] == ("good", "better")
    scores = scores_table(found, "sst")
    assert scores.head == ("", "1 month", "2 months", "all")
    assert [row[0] for row in scores.rows[:3]] == ["plain, seed 0", "plain, seed 1", "plain, seed 2"]
    value = np.sqrt(np.mean(found.trained[0].scores["sst"][0]))
    assert float(scores.rows[0][3]) == pytest.approx(value, abs=1e-3)
    assert cost_table(found).rows[0] == ("plain", "1 200", "3.4 M", "100", "60", "0, 1, 2")


def test_it_can_be_written_as_json() -> None:
    for windows in (7, 60):
        content = study(made(windows, {"plain": 1.0, "good": 0.8})).as_dict()
        back = json.loads(json.dumps(content, allow_nan=False))
        assert back["compared"][0]["word"] == ("not ranked" if windows == 7 else "better")
        assert len(back["compared"][0]["by_lead"]) == HORIZON
        assert len(back["members"]) == 4


def test_how_numbers_are_written() -> None:
    (one, *_) = study(made(90, {"plain": 1.0, "good": 0.8})).compared
    shown = ends(one)
    assert shown.startswith("−2")
    assert shown.count("−") == 3
    assert [p_text(value) for value in (None, 0.0002, 0.0123, 0.5)] == ["–", "< 0.001", "0.012", "0.50"]


def test_a_pair_that_stays_alike_says_why_it_is_not_ranked() -> None:
    slow = 3 * autoregression(np.random.default_rng(0), 0.97, (60,))[:, None] + np.zeros(HORIZON)
    hard = 10 + np.zeros((1, 60, HORIZON))
    found = study([group("plain", hard, {}), group("slow", hard + slow, {})])
    (one,) = found.compared
    assert one.word == "not ranked"
    assert found.rankable
    assert "test windows would be needed" in not_ranked(one)
    assert finding(found) == [f"Against plain: not ranked: slow ({ends(one)})."]


def test_other_windows_are_refused() -> None:
    one, two = made(30, {"plain": 1.0, "good": 0.8})
    (other, _) = made(30, {"good": 0.8, "x": 1.0}, windows_hash="fedcba9876543210")
    with pytest.raises(DataError, match=r"runs/good/seed-0: other test windows than runs/plain/seed-0 .*fedcba987654"):
        study([one, other])
    assert study([one, two])


def test_other_cells_are_refused() -> None:
    (one,) = made(30, {"plain": 1.0})
    weight = np.ones((30, HORIZON))
    weight[3:5] = 0.5
    (other,) = made(30, {"good": 1.0}, weight=weight)
    with pytest.raises(DataError, match=r"other cells than runs/plain/seed-0 in 2 of 30 test windows.*baselines"):
        study([one, other])


def test_other_data_are_refused() -> None:
    hard = weather(np.random.default_rng(0), 30)
    one = group("plain", hard[None], {"persistence": 2 * hard})
    other = group("good", hard[None], {"persistence": 2.1 * hard})
    with pytest.raises(DataError, match=r"persistence has other errors.*the data are not the same"):
        study([one, other])


def test_a_baseline_that_was_fitted_otherwise_is_noted() -> None:
    hard = weather(np.random.default_rng(0), 30)
    one = group("plain", hard[None], {"persistence": 2 * hard, "climatology": 1.5 * hard})
    other = group("good", hard[None], {"persistence": 2 * hard, "climatology": 1.6 * hard})
    found = study([one, other])
    assert found.notes == ("climatology is that of runs/plain/seed-0; runs/good/seed-0 had it fitted otherwise",)


def test_only_baselines_that_all_have_are_compared() -> None:
    hard = weather(np.random.default_rng(0), 30)
    one = group("plain", hard[None], {"persistence": 2 * hard, "climatology": 1.5 * hard})
    other = group("good", hard[None], {"persistence": 2 * hard})
    assert {one.second for one in study([one, other]).compared} == {"plain", "persistence"}


def test_the_errors_of_a_made_up_run_are_as_said() -> None:
    losses = np.arange(6.0).reshape(3, 2)
    assert run_errors({"model": losses}).errors.squared[0, :, :, 0].tolist() == losses.tolist()


@pytest.mark.parametrize("windows", [12, 90])
def test_what_is_saved_tells_the_same(windows: int) -> None:
    found = study(made(windows, {"plain": 1.0, "good": 0.85, "bad": 1.2}))
    saved = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    again = study_of(saved)
    assert again.as_dict() == found.as_dict()
    assert (finding(again), worth(again)) == (finding(found), worth(found))
    assert cost_table(again) == cost_table(found)
    for variable in found.layout.variables:
        assert scores_table(again, variable.name) == scores_table(found, variable.name)
        assert compared_tables(again.of_variable(variable.name)) == compared_tables(found.of_variable(variable.name))
    assert again.steps_needed == found.steps_needed


def test_recipes_keep_their_names_and_baselines_are_said_in_words() -> None:
    found = study(made(90, {"plain__a_b": 1.0, "good": 0.85}))
    assert [one.against for one in found.compared] == ["plain__a_b", *["persistence"] * 2, *["damped anomaly"] * 2]
    assert list(compared_tables(found.compared)) == ["plain__a_b", "persistence", "damped anomaly"]
