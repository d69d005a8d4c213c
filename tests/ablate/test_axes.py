"""What axes mean for a recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from stkit.ablate import plan as planning
from stkit.ablate.budget import Budget
from stkit.ablate.grid import parse_grid
from stkit.ablate.plan import Plan, make_plan
from stkit.errors import UsageError
from stkit.recipe import Recipe, dryrun

STEPS = Budget("steps", 10)


@pytest.fixture
def checked(recipe: Path):
    """``checked("attention=none,sam", "train.batch_size=3")``: the plan of a grid, its axes apart by ``;``."""

    def plan(grid: str, *overrides: str, seeds: int = 1, base: str | None = None) -> Plan:
        axes = parse_grid(grid.split(";"))
        return make_plan(base or str(recipe), overrides, axes, seeds=seeds, budget=STEPS)

    return plan


@pytest.fixture
def planned(checked, monkeypatch: pytest.MonkeyPatch):
    """The same without building the models and opening the data, which takes most of the time."""
    monkeypatch.setattr(dryrun, "dry_run", lambda loaded: SimpleNamespace(parameters=1, flops_per_window=1))
    monkeypatch.setattr(planning, "_check_data", lambda cells: None)
    return checked


def recipes(plan: Plan) -> list[Recipe]:
    return [cell.loaded.recipe for cell in plan.cells]


def test_attention_by_name_place_and_mapping(planned) -> None:
    plan = planned(
        "attention=none,sam,x:self_attention,{c: {name: self_attention, heads: 1}, h: sam_}".replace(
            "sam_", "self_attention_memory"
        )
    )
    placed = [{place: module.name for place, module in one.model.attention.items() if module} for one in recipes(plan)]
    assert placed == [
        {},
        {"h": "self_attention_memory"},
        {"x": "self_attention"},
        {"c": "self_attention", "h": "self_attention_memory"},
    ]


def test_attention_of_the_recipe_goes_unless_it_is_said_again(planned) -> None:
    said = "model.attention={h: {name: self_attention, heads: 2}, x: self_attention}"
    layer = "model.layers=[2, {width: 2, attention: {c: self_attention}}]"
    none, same, other = recipes(planned("attention=none,self_attention,sam", said, layer))
    assert not any(none.model.attention.values())
    assert not any(module for one in none.model.layers for module in one.attention.values())
    assert same.model.attention["h"].heads == 2, "what the recipe says of the module stays"
    assert same.model.attention.get("x") is None
    assert other.model.attention["h"].name == "self_attention_memory"


def test_nonstationary_is_a_transition_or_a_module(planned) -> None:
    none, mim, differencing, mapped = recipes(planned("nonstationary=none,mim,differencing,{name: mim, kernel: 1}"))
    assert (none.model.transition, none.model.nonstationary) == (None, None)
    assert mim.model.transition.name == "mim"
    assert mim.model.transition.kernel == 3, "at the kernel size of the cell"
    assert (differencing.model.transition, differencing.model.nonstationary.name) == (None, "differencing")
    assert mapped.model.transition.kernel == 1


def test_nonstationary_of_the_recipe_goes_or_stays(planned) -> None:
    said = "model.transition={name: mim, kernel: 1, layers: 2..}"
    layer = "model.layers=[2, {width: 2, transition: {name: mim, bias: true}}]"
    none, mim = recipes(planned("nonstationary=none,mim", said))
    assert none.model.transition is None
    assert (mim.model.transition.kernel, mim.model.transition.layers) == (1, "2..")
    none, _ = recipes(planned("nonstationary=none,mim", layer))
    assert all(one.transition is None for one in none.model.layers)


def test_cells_are_compared_at_one_kernel_size(planned) -> None:
    own, other, mapped = recipes(planned("cell=st_lstm,conv_lstm,{name: causal_lstm, kernel: 1}"))
    assert (own.model.cell.name, own.model.cell.kernel) == ("st_lstm", 3)
    assert (other.model.cell.name, other.model.cell.kernel) == ("conv_lstm", 3)
    assert (mapped.model.cell.name, mapped.model.cell.kernel) == ("causal_lstm", 1)


def test_architectures_are_compared_at_one_size(planned) -> None:
    said = ("model.patch=2", "model.head={zero_init: true}")
    predrnn, convlstm, mim = recipes(planned("model=predrnn,convlstm,mim", *said))
    for one in (predrnn, convlstm, mim):
        assert [layer.width for layer in one.model.layers] == [2, 2]
        assert one.model.patch == 2
        assert one.model.cell.kernel == 3
        assert one.model.head.zero_init is True
    assert (convlstm.model.rollout.name, convlstm.train.sampling.name) == ("encoder_forecaster", "none")
    assert convlstm.model.head.reads == "all", "its own"
    assert (mim.model.transition.name, mim.model.transition.kernel) == ("mim", 3)


def test_an_architecture_under_an_overlay(planned) -> None:
    plan = planned("model=predrnn,convlstm;overlay=none,attention")
    assert [(one.model.name, bool(one.model.attention)) for one in recipes(plan)] == [
        ("predrnn", False),
        ("predrnn", True),
        ("convlstm", False),
        ("convlstm", True),
    ]


def test_overlays_are_files_too(planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hot.yaml").write_text("train: {optimiser: {lr: 0.5}}")
    plain, hot, shipped = recipes(planned("overlay=none,hot.yaml,attention"))
    assert plain.train.optimiser.lr != 0.5
    assert hot.train.optimiser.lr == 0.5
    assert shipped.model.attention["h"].name == "self_attention_memory"


def test_any_key_is_an_axis(planned) -> None:
    found = recipes(planned("model.layers=[2,2],[3];train.optimiser.lr=1e-3,1e-2;model.head.kernel=1,3"))
    assert [(len(r.model.layers), r.train.optimiser.lr, r.model.head.kernel) for r in found] == [
        (layers, lr, kernel) for layers in (2, 1) for lr in (1e-3, 1e-2) for kernel in (1, 3)
    ]


def test_overrides_are_for_all_cells(planned) -> None:
    plan = planned("model.cell.kernel=1,3", "train.batch_size=2", "seed=9", seeds=3)
    assert [one.train.batch_size for one in recipes(plan)] == [2, 2]
    assert plan.seeds == (9, 10, 11)


def test_the_identity_is_of_recipe_and_budget(planned, recipe: Path) -> None:
    plan = planned("model.cell.kernel=1,3")
    assert planned("model.cell.kernel=3,5", seeds=4).identity == plan.identity, "grid and seeds may grow"
    assert planned("model.cell.kernel=1,3", "train.batch_size=2").identity != plan.identity
    axes = parse_grid(["model.cell.kernel=1,3"])
    longer = make_plan(str(recipe), (), axes, seeds=1, budget=Budget("steps", 11))
    assert longer.identity != plan.identity


def test_slugs_are_folders(planned) -> None:
    plan = planned("attention=none,h:sam;model.layers=[2,2],[{width: 3, cell: st_lstm}]")
    slugs = [cell.slug for cell in plan.cells]
    assert len(set(slugs)) == len(slugs) == 4
    assert all(set(slug) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") for slug in slugs)
    assert planned("attention=none,sam").cells[1].slug == "attention-sam"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("atention=none,sam", "there is no such axis; did you mean 'attention'?"),
        ("colour=1", "there is no such axis; known: attention, nonstationary, cell, model, overlay, data.…"),
        ("attention=none,samm", "there is no attention module 'samm'; did you mean 'sam'?"),
        ("attention=z:sam", "no layer has a place 'z'; the places are"),
        ("attention={h: 3", "'}' is missing at the end"),
        ("attention={h: [}]}", "'}' closes nothing"),
        ("attention={}", "expected a name or a mapping"),
        ("attention={h: x, h: y}", "no YAML (duplicate key"),
        ("nonstationary=none,mimm", "no transition or non-stationary module 'mimm'; did you mean 'mim'?"),
        ("nonstationary={kernel: 3}", "no transition or non-stationary module"),
        ("cell=lstm", "there is no cell 'lstm'; did you mean"),
        ("model=predrn", "there is no architecture 'predrn'; did you mean 'predrnn'"),
        ("overlay=attentoin", "did you mean 'attention' or"),
        ("model.cell.kernl=1", "there is no such key; did you mean 'kernel'?"),
        ("model.cell.kernel=1,big", "should be a whole number"),
        ("seed=1,2", "cannot be an axis: --seeds says"),
        ("train.steps=1,2", "cannot be an axis: --budget says"),
        ("train.early_stopping.patience=1,2", "every run uses its whole budget"),
        ("evaluate.baselines=[persistence],[climatology]", "all cells are scored alike"),
        ("attention=none,{h: null}", "are the same recipe; leave one of the values out"),
    ],
)
def test_what_is_no_axis_or_value_is_one_message(planned, grid: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(grid)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("data.horizon=1,2", "'data.horizon=2' has other test windows than 'data.horizon=1'"),
        ("data.dataset.path=nowhere.nc", "nowhere.nc"),
        ("model.cell.peephole=pixel;data.crop=null,{height: 2, width: 2}", "pixel"),
    ],
)
def test_what_only_the_data_can_tell_is_told_before_training(checked, grid: str, message: str) -> None:
    base = "model={name: convlstm, layers: [2]}" if "peephole" in grid else "model.patch=1"
    with pytest.raises(UsageError) as caught:
        checked(grid, base, "train.sampling={name: none}")
    assert message in str(caught.value)


def test_parameters_and_operations_of_each_cell(checked, caplog: pytest.LogCaptureFixture) -> None:
    small, large = checked("model.layers=[2,2],[4,4]").cells
    assert 0 < small.parameters < large.parameters
    assert 0 < small.flops < large.flops
    assert not caplog.records
    checked("model.layers=[2,2]", "data.split.test=0.05", "data.split.train=0.8")
    assert "windows; 15 would be needed to rank anything" in caplog.text


def test_a_key_is_not_fixed_and_varied(planned) -> None:
    with pytest.raises(UsageError, match=r"the override model\.cell\.kernel=… fixes what the grid is to vary"):
        planned("model.cell.kernel=1,3", "model.cell.kernel=3")


def test_one_message_names_the_cells_it_is_about(planned) -> None:
    with pytest.raises(UsageError) as caught:
        planned("train.batch_size=0,2;model.cell.kernel=1,3")
    (line,) = str(caught.value).splitlines()
    assert "'train.batch_size=0 model.cell.kernel=1', 'train.batch_size=0 model.cell.kernel=3': override" in line


def test_no_seeds(planned) -> None:
    with pytest.raises(UsageError, match="--seeds 0: at least one seed"):
        planned("attention=none", seeds=0)
