"""Any cell with any attention at any place, any transition and any module for non-stationary fields.

What the recipe reader lets through holds the contract of an architecture; what cannot be combined it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from stkit.errors import RecipeError
from stkit.plugin.manager import plugins
from stkit.recipe.plan import plan
from stkit.stacks.build import build_forecaster, model_config
from stkit.testing.contract import StackContract
from stkit.testing.strategies import STACK_SETTINGS, Case, cases

WIDTH = 4
CELLS: dict[str, dict[str, Any]] = {
    "conv_lstm": {"layers": [WIDTH, WIDTH]},
    "st_lstm": {"layers": [WIDTH, WIDTH]},
    "causal_lstm": {"layers": [WIDTH, {"width": WIDTH, "cell": {"name": "ghu", "kernel": 3}}, WIDTH]},
    "e3d_lstm": {
        "cell": {"kernel": [2, 3, 3]},
        "layers": [{"width": 1, "cell": {"name": "frame_window"}}, WIDTH, WIDTH],
        "head": {"name": "conv3d"},
    },
}
"""Each recurrent cell, with the unit that its paper puts between or below the layers."""
PLACES = {
    "conv_lstm": "x h c",
    "st_lstm": "x h c m",
    "causal_lstm": "x h c m z",
    "e3d_lstm": "x h c m frames",
}
INSIDE = {"mim": "d t"}
"""Places of transitions."""
TRANSITIONS = (None, "forget", "mim", "recall")
FLAT = ("windowed_attention", "axial_attention")
"""Attention that works on B C H W alone."""
MODULES = plugins().names("modules", slot="attention")
NONSTATIONARY = (None, *plugins().names("modules", slot="nonstationary"))
WINDOWS = ("windowed_attention",)


def values(cell: str, transition: str | None, attention: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A model section."""
    own = CELLS[cell]
    kernel = {"name": cell, "kernel": 3, **own.get("cell", {})}
    model = {"head": {"name": "conv", "kernel": 1}, "rollout": {"name": "next_frame"}, **own, "cell": kernel}
    if transition is not None:
        model["transition"] = {"name": transition, **({"kernel": 3} if transition == "mim" else {})}
    return {**model, "attention": attention, **more}


def holds(rule: Any, model: dict[str, Any], form: type[StackContract] = StackContract, **drawn: Any) -> None:
    """One rule of the contract of an architecture for one model, with what Hypothesis drew for it."""
    contract = type("Combined", (form,), {"overrides": model})()
    inner = rule.hypothesis.inner_test if hasattr(rule, "hypothesis") else rule
    inner(contract, **drawn)


# --------------------------------------------------------------------------------- each module at each place


def every_one() -> Iterator[tuple[str, str | None, str, str]]:
    for cell in CELLS:
        for transition in TRANSITIONS:
            for place in [*PLACES[cell].split(), *INSIDE.get(transition or "", "").split()]:
                for module in MODULES:
                    yield cell, transition, place, module


@pytest.mark.parametrize("cell", CELLS)
def test_what_can_be_combined_is_built_and_all_else_is_refused(cell: str) -> None:
    """Each module at each place with each transition, on the meta device, against the reasons that there are."""
    for own, transition, place, module in every_one():
        if own != cell:
            continue
        deep = cell == "e3d_lstm" and transition == "mim"  # MIM keeps memories without a depth
        flat = cell == "e3d_lstm" and module in FLAT
        model = model_config(values(cell, transition, {place: module}))
        if deep or flat:
            with pytest.raises(RecipeError, match=r"works on B C H W alone"):
                plan(model, 1)
            continue
        forecaster = build_forecaster(model, in_channels=1, out_channels=1, grid=(16, 16), device="meta")
        spec = plugins().resolve("modules", module, slot="attention")
        standing = [part for part in forecaster.modules() if type(part) is spec.load_target()]
        layers = len(CELLS[cell]["layers"])
        only = {"frames": 1, "z": 1, "x": layers, "d": layers - (cell == "causal_lstm")}
        expected = only.get(place, layers - (cell in ("causal_lstm", "e3d_lstm")))
        if place == "t":
            expected = only["d"]
        assert len(standing) == expected, (cell, transition, place, module)


# ----------------------------------------------------------------------------------------- any combination


def options(module: str) -> st.SearchStrategy[dict[str, Any]]:
    """A module with some of its options, of which not all fit."""
    position = ["none", "rotary", "relative"] if module == "windowed_attention" else ["none", "rotary"]
    drawn: dict[str, st.SearchStrategy[Any]] = {
        "name": st.just(module),
        "heads": st.sampled_from([1, 1, 2, 3]),
        "positions": st.sampled_from(position),
        "when": st.sampled_from([None, None, "before", "after"]),
        "layers": st.sampled_from([None, None, [1], "2.."]),
    }
    if module == "windowed_attention":
        drawn |= {"window": st.sampled_from([2, 3]), "shift": st.sampled_from([0, 1])}
    return st.fixed_dictionaries(drawn)


@st.composite
def models(draw: st.DrawFn, cell: str) -> dict[str, Any]:
    """Most of which can be; modules and a transition that no 3-D cell takes are not drawn for one."""
    deep = cell == "e3d_lstm"
    transition = draw(st.sampled_from([name for name in TRANSITIONS if not (deep and name == "mim")]))
    places = [*PLACES[cell].split(), *INSIDE.get(transition or "", "").split()]
    module = st.one_of([options(name) for name in MODULES if not (deep and name in FLAT)])
    attention = draw(st.dictionaries(st.sampled_from(places), module, min_size=1, max_size=2))
    return values(
        cell,
        transition,
        attention,
        nonstationary=draw(st.sampled_from(NONSTATIONARY)),
        patch=draw(st.sampled_from([1, 2])),
        rollout={"name": draw(st.sampled_from(["next_frame", "next_frame", "encoder_forecaster"]))},
    )


def is_read(model: dict[str, Any]) -> bool:
    """Whether the recipe reader lets it through; all it says else is why not."""
    try:
        plan(model_config(model), 1)
    except RecipeError as error:
        event(error.problems[0].message[-40:])
        return False
    return True


class Longer(StackContract):
    """With more frames of context: a trend and two waves fit three frames without anything left to learn from."""

    def sample(self, case: Case, *args: Any, **options: Any) -> Any:
        return super().sample(case._replace(steps=case.steps + 3), *args, **options)


@pytest.mark.parametrize("cell", CELLS)
@settings(STACK_SETTINGS, max_examples=20)
@given(data=st.data())
def test_what_is_read_can_be_built(cell: str, data: st.DataObject) -> None:
    """So that nothing is refused later than when the recipe is read."""
    model = data.draw(models(cell))
    assume(is_read(model))
    build_forecaster(model_config(model), in_channels=1, out_channels=1, grid=(12, 12), device="meta")


@pytest.mark.parametrize("cell", CELLS)
@settings(STACK_SETTINGS, max_examples=3)
@given(case=cases(max_batch=2, max_steps=3), data=st.data())
def test_what_is_read_holds_the_contract(cell: str, case: Case, data: st.DataObject) -> None:
    """Three models of each cell, what is refused not counted."""
    model = data.draw(models(cell))
    assume(is_read(model))
    small = case._replace(height=min(case.height, 5), width=min(case.width, 6))
    holds(StackContract.test_shapes, model, case=small, channels=(1, 1), horizon=2)
    holds(StackContract.test_pure, model, case=small, other=small._replace(batch=1, height=4))
    holds(StackContract.test_batch_independence, model, case=small, channels=(1, 1))
    holds(StackContract.test_causality, model, case=small, data=data)
    holds(StackContract.test_gradients, model, Longer, seed=case.seed)


@pytest.mark.parametrize("cell", CELLS)
@settings(STACK_SETTINGS, max_examples=2)
@given(case=cases(max_batch=2, min_steps=3, max_steps=3), data=st.data())
def test_what_is_read_streams_and_saves(cell: str, case: Case, data: st.DataObject) -> None:
    model = data.draw(models(cell))
    assume(is_read(model))
    small = case._replace(height=min(case.height, 5), width=min(case.width, 6))
    holds(StackContract.test_writes_nothing, model, case=small, training=True)
    holds(StackContract.test_stepwise, model, case=small, channels=(1, 1), with_base=False)
    holds(StackContract.test_resumes, model, case=small, data=data)
    holds(StackContract.test_state_form, model, case=small)
    holds(StackContract.test_saves, model, case=small)


class OneGrid(StackContract):
    """Exported for the grid of the example alone: how many windows there are is in the graph."""

    needs_grid = True


@pytest.mark.parametrize("module", MODULES)
def test_attention_of_each_kind_exports_and_computes_in_half_precision(module: str) -> None:
    attention = {"h": {"name": module, **({"window": 4} if module in WINDOWS else {})}}
    model = values("conv_lstm", None, attention, layers=[WIDTH])
    holds(StackContract.test_exports, model, OneGrid if module in WINDOWS else StackContract)
    holds(StackContract.test_dtype, model, case=Case(2, 2, 5, 6, 0), dtype=torch.bfloat16)
