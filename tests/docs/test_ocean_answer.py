"""The records of the page on the ocean are of the shipped recipe, at equal budget; its commands are the page's."""

from __future__ import annotations

import json

import pytest

from stkit.ablate.budget import parse_budget
from stkit.ablate.grid import parse_grid
from stkit.ablate.plan import make_plan
from stkit.evaluate.comparison.saved import study_of
from tests.docs.pages import DOCS

RECORDS = sorted((DOCS / "records" / "ablation").glob("ocean-*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])
def test_every_cell_had_the_same_steps_seeds_and_windows(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    about, study = content["about"], study_of(content["comparison"])
    assert about["grid"] == {"nonstationary": ["none", "mim"], "attention": ["none", "sam"]}
    assert len(study.trained) == 4
    for member in study.trained:
        assert set(member.cost.steps) == {int(about["budget"].removesuffix("steps"))}
        assert list(member.seeds) == about["seeds"]
    assert {member.name for member in study.baselines} == {"persistence", "climatology", "damped_anomaly"}


def test_the_record_is_of_the_recipe_as_it_is_shipped():
    content = json.loads((DOCS / "records" / "ablation" / "ocean-sst.json").read_text(encoding="utf-8"))
    about = content["about"]
    axes = parse_grid([f"{axis}={','.join(values)}" for axis, values in about["grid"].items()])
    plan = make_plan(about["ref"], about["overrides"], axes, seeds=1, budget=parse_budget(about["budget"]))
    study = study_of(content["comparison"])
    assert [(cell.name, cell.parameters, cell.flops) for cell in plan.cells] == [
        (member.name, member.cost.parameters, member.cost.flops) for member in study.trained
    ]


def test_the_page_says_in_short_what_was_found():
    for name in ("ocean-wind", "ocean-ersst"):
        study = study_of(json.loads((DOCS / "records" / "ablation" / f"{name}.json").read_text("utf-8"))["comparison"])
        words = {(one.second, one.word) for one in study.compared}
        assert ("persistence", "better") in words
        assert not {("persistence", word) for word in ("worse", "not distinguishable", "not ranked")} & words
        assert {word for second, word in words if second == study.trained[0].name} == {"not distinguishable"}
        if name == "ocean-wind":
            assert {word for second, word in words if second == "damped_anomaly"} == {"not distinguishable"}
