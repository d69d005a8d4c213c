"""The memory that training takes, counted, estimated and limited."""

import json
import threading

import pytest
import torch

import stkit
from stkit.errors import RecipeError, UsageError
from stkit.recipe import from_dict
from stkit.run.execute import execute
from stkit.stacks.recompute import LEVELS
from stkit.train.device import make_accelerator
from stkit.train.held import watch
from stkit.train.losses import MSE
from stkit.train.memory import GB, choose_level, optimiser_share, training_bytes
from stkit.train.objective import Objective
from stkit.train.setup import assemble
from tests.train.conftest import assert_same_tensors, metrics, tensors

CPU = torch.device("cpu")
MODELS = {
    "predrnn": {"name": "predrnn", "layers": [8, 8]},
    "convlstm": {"name": "convlstm", "layers": [8, 8]},
    "mim": {"name": "mim", "layers": [8, 8]},
}


def test_bytes_are_counted_from_when_a_tensor_is_made_until_it_is_gone():
    before = torch.zeros(1000)
    with watch(CPU) as held:
        one = before + 1
        view = one.view(10, 100)[2:]
        assert held.now == 4000
        both = one + one
        assert held.now == held.most == 8000
        del one, both
        assert held.now == 4000  # the view holds the whole storage
        del view
        before.add_(1)
        assert (held.now, held.most) == (0, 8000)


def test_bytes_of_a_backward_pass_are_counted():
    weight = torch.zeros(100, 100, requires_grad=True)
    with watch(CPU) as held:
        loss = (weight * 2).tanh().sum()
        loss.backward()
        del loss
        assert held.now == 40_000  # the gradient
        assert held.most >= 80_000


def objective(model, engine="direct"):
    torch.manual_seed(0)
    return Objective(stkit.build(**MODELS[model], in_channels=1, engine=engine), MSE(), 4)


def batch(frames=9, size=2):
    return {"frames": torch.rand(size, frames, 1, 8, 8), "valid": torch.ones(size, frames, 1, 8, 8).bool()}


def measured(made, given, level, tokens=None):
    """At the highest, of a whole step."""
    made.recompute = level
    with watch(CPU) as held:
        terms = made(given, tokens)
        loss = sum(value for value, _ in terms.values())
        del terms
        loss.backward()
    made.zero_grad(set_to_none=True)
    return held.most


@pytest.mark.parametrize(
    ("model", "engine"), [("predrnn", "direct"), ("predrnn", "winograd"), ("convlstm", "direct"), ("mim", "winograd")]
)
def test_the_estimate_is_never_below_and_near_what_is_measured(model, engine):
    made, given = objective(model, engine), batch()
    weights = sum(value.numel() * 4 for value in made.state_dict().values())
    there = weights + sum(value.numel() * value.element_size() for value in given.values())
    measured(made, given, "none")  # an engine keeps some of its memory for good
    found = {}
    for level in LEVELS:
        real = there + measured(made, given, level)
        said = training_bytes(made, given, sampled=False, level=level, besides=0, world=1)
        assert real <= said <= 1.35 * real, level
        found[level] = said
    assert found["everything"] <= found["layer"] < found["none"]
    assert found["everything"] < 0.85 * found["none"]
    if engine == "direct":  # with mapped kernels, so small a batch is nothing beside them
        assert max(found["layer"], found["step"]) < 0.8 * found["none"]
    assert all(parameter.grad is None for parameter in made.parameters())


def test_what_an_engine_keeps_for_good_counts_once():
    found = []

    def in_a_new_thread():  # which has none of it yet
        made, given = objective("predrnn", "winograd"), batch()
        found.extend(training_bytes(made, given, sampled=False, level="none", besides=0, world=1) for _ in range(2))

    thread = threading.Thread(target=in_a_new_thread)
    thread.start()
    thread.join()
    first, second = found
    assert first > second
    assert first < 2 * second


def test_the_estimate_does_not_grow_with_frames_as_keeping_everything_does():
    made = objective("predrnn")
    growth = {}
    for level in ("none", "step"):
        short, long = (
            training_bytes(made, batch(frames), sampled=True, level=level, besides=0, world=1) for frames in (10, 20)
        )
        growth[level] = long - short
    assert growth["step"] < 0.5 * growth["none"]


def test_random_numbers_are_left_as_they_were():
    made, given = objective("predrnn"), batch()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    training_bytes(made, given, sampled=True, level="none", besides=0, world=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("name", "share"), [("sgd", 0.0), ("adam", 2.0), ("lion", 1.0)])
def test_state_of_an_optimiser(name, share):
    from stkit.recipe.sections.train import OptimiserConfig
    from stkit.train.optimiser import build_optimiser

    config = OptimiserConfig(name=name, lr=1e-3)
    found = optimiser_share(lambda module: build_optimiser(config, module))
    assert found == pytest.approx(share + (1.0 if name == "sgd" else 0.0), abs=0.05)  # timm's sgd has momentum


NEEDS = {"none": 8 * GB, "layer": 5 * GB, "step": 4 * GB, "everything": 3 * GB}


@pytest.mark.parametrize(
    ("train", "level"),
    [
        ({}, "none"),
        ({"recompute": "layer"}, "layer"),
        ({"memory_limit_gb": 9}, "none"),
        ({"memory_limit_gb": 8}, "none"),
        ({"memory_limit_gb": 7.9}, "layer"),
        ({"memory_limit_gb": 4.5}, "step"),
        ({"memory_limit_gb": 3}, "everything"),
        ({"memory_limit_gb": 6, "recompute": "step"}, "step"),
    ],
)
def test_as_little_is_computed_again_as_fits(recipe, train, level):
    loaded = recipe({f"train.{key}": value for key, value in train.items()})
    found, told = choose_level(loaded.recipe, NEEDS.__getitem__)
    assert found == told["recompute"] == level
    assert told.get("limit_gb") == train.get("memory_limit_gb")
    assert told.get("estimated_gb") == (NEEDS[level] / GB if "memory_limit_gb" in train else None)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"memory_limit_gb": 2.9}, r"memory_limit_gb: 2.9 GB are given, but training takes 3 GB here even where every"),
        ({"memory_limit_gb": 4, "recompute": "layer"}, r"training takes 5 GB here with train.recompute: layer; raise"),
    ],
)
def test_a_limit_below_the_floor_is_refused(recipe, train, message):
    loaded = recipe({f"train.{key}": value for key, value in train.items()})
    with pytest.raises(UsageError, match=message):
        choose_level(loaded.recipe, NEEDS.__getitem__)


def test_the_floor_that_is_told_is_enough(recipe, tmp_path):
    with pytest.raises(UsageError, match="memory_limit_gb: 1e-06 GB are given") as error:
        execute(recipe({"train.memory_limit_gb": 1e-6}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    floor = float(str(error.value).partition("training takes ")[2].split()[0])
    assert floor < 0.01
    training = assemble(recipe({"train.memory_limit_gb": floor}), make_accelerator())
    assert training.objective.recompute == training.memory["recompute"] != "none"
    assert training.memory["estimated_gb"] <= floor


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("memory_limit_gb", 0, "greater than 0"),
        ("memory_limit_gb", -1, "greater than 0"),
        ("memory_limit_gb", "much", "number"),
        ("truncate_steps", 0, "at least 1"),
        ("truncate_steps", 1.5, "whole number"),
        ("recompute", "layers", "layer"),
    ],
)
def test_values_that_mean_nothing_are_refused(recipe, name, value, message):
    with pytest.raises(RecipeError, match=rf"train\.{name}.*{message}"):
        recipe({f"train.{name}": value})


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "none"])
def test_a_run_is_the_same_bit_for_bit(recipe, tmp_path, level):
    changes = {"train.accumulate": 2, "train.loss": {"name": "decoupling"}}
    execute(recipe(changes), out=tmp_path / "plain", evaluate=False)
    done = execute(recipe({**changes, "train.recompute": level}), out=tmp_path / "less", evaluate=False)
    assert metrics(tmp_path / "less") == metrics(tmp_path / "plain")
    assert_same_tensors(tensors(tmp_path / "less"), tensors(tmp_path / "plain"))
    assert done.run.read_record()["memory"] == {"recompute": level}


def test_a_recipe_without_the_options_keeps_its_hash(recipe, values):
    plain = recipe()
    named = from_dict({**values, "train": {**values["train"], "memory_limit_gb": None, "recompute": None}})
    assert plain.hash == named.hash
    assert "memory_limit_gb" not in plain.resolved_yaml()
    assert recipe({"train.memory_limit_gb": 1}).hash != plain.hash
    assert json.loads(json.dumps(plain.recipe.model_dump(mode="json")["train"])).get("truncate_steps") is None
