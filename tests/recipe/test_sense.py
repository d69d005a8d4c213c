"""The second and third stage: what does not fit as a whole, and building without memory."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from stkit.api import CarryPort, CellConfig, HeadConfig, ModuleConfig
from stkit.errors import RecipeError
from stkit.recipe import load
from stkit.recipe.dryrun import dry_run
from stkit.recipe.plan import plan, plan_forecaster
from stkit.recipe.sections.data import DataConfig
from stkit.recipe.sections.model import EncoderForecaster, LayerConfig, ModelConfig, NextFrame
from stkit.recipe.validate import EXTRA_CHANNELS

from .conftest import Recipes


def told(*overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load("base.yaml", overrides)
    return str(caught.value)


SENSE = {
    "data.split.train=1.5": "data.split.train: a share lies between 0 and 1; received 1.5",
    "data.split.train=0.9": "data.split: the shares add up to 1.2, more than the whole record",
    "data.split.test=2006-04": "data.split.test: should be a share such as 0.7 or a span such as 2006-04..2008-12; "
    "received '2006-04'",
    "data.split.test=2008..2006": "data.split.test: the span ends before it starts; received '2008..2006'",
    "data.split.test=2006..2008": "data.split: write all parts as shares, or all as spans",
    "data.split={train: 2006..2008-03, validation: 2008-03-15..2008-12, test: 2009..2010}": "data.split.validation: "
    "overlaps with train",
    "data.extra_inputs=[mask, mask]": "data.extra_inputs: an input is named twice",
    "model.layers=[4, 6]": "model.layers.0: layer 1 (st_lstm) needs the carried memory 'm' with 4 channels, but "
    "layer 2 hands on 6 (the memory returns from the top layer to the bottom one); give the layers equal widths",
    "model.transition.name=forget": None,
    "model.transition={name: forget, layers: [3]}": "model.transition.layers: there is no layer 3; "
    "the layers are 1 to 2",
    "model.transition={name: forget, layers: 2..}": None,
    "model.transition={name: forget, layers: 1..3}": "model.transition.layers: there is no layer 3; "
    "the layers are 1 to 2",
    "model.transition={name: forget, layers: 3..}": "model.transition.layers: there is no layer 3; "
    "the layers are 1 to 2",
    "model.transition={name: forget, layers: 2..1}": "model.transition.layers: should be a list such as [2, 3], or a "
    "span such as 2..3 or 2..; received '2..1'",
    "model.transition={name: forget, layers: 2}": "model.transition.layers: should be a list such as [2, 3], or a "
    "span such as 2..3 or 2..; received 2",
    "train.sampling={name: reverse_scheduled, first_step: 9, second_step: 3}": "train.sampling.second_step: comes "
    "before first_step (9)",
    "train.accumulate=9": "train.accumulate: is more than the 8 windows of a batch",
    "evaluate.metrics=[rmse, rmse]": "evaluate.metrics.1: 'rmse' is named twice",
    "evaluate.metrics=[{name: csi, threshold: [1, 5]}, {name: csi, threshold: 5}]": "evaluate.metrics.1: 'csi_5' is "
    "named twice",
    "evaluate.metrics=[{name: fss, threshold: [1, p90], scale: [1, 9]}, {name: max_csi, threshold: 1, pool: 4}]": None,
    "evaluate.baselines=[climatology, climatology]": "evaluate.baselines.1: 'climatology' is named twice",
}


@pytest.mark.parametrize("override", SENSE)
def test_sense(recipes: Recipes, override: str) -> None:
    expected = SENSE[override]
    if expected is None:
        assert load("base.yaml", [override]).recipe
    else:
        assert f"override '{override}': {expected}" in told(override)


def test_a_span_within_another_part_of_a_month_is_no_overlap(recipes: Recipes) -> None:
    split = "data.split={train: 2006-04..2008-02, validation: 2008-03..2008-12, test: 2009-01-01..2010-09-01T12}"
    assert load("base.yaml", [split]).recipe.data.split.test == "2009-01-01..2010-09-01T12"


def test_a_sampling_that_an_encoder_forecaster_would_ignore(recipes: Recipes) -> None:
    found = told("model.name=convlstm")
    assert (
        "train.sampling: an encoder-forecaster is never shown true frames in the forecast part, so 'scheduled'" in found
    )
    assert found.startswith("base.yaml:12:13: ")


def test_known_inputs_that_are_not_there(recipes: Recipes) -> None:
    changes = [
        "model.name=convlstm",
        "model.layers=[4]",
        "model.rollout.reads_known=true",
        "train.sampling={name: none}",
    ]
    assert "model.rollout.reads_known: there are no known inputs to read; name some in data.extra_inputs" in told(
        *changes
    )
    assert load("base.yaml", [*changes, "data.extra_inputs=[mask]"]).recipe


def test_a_variant_without_an_architecture(recipes: Recipes) -> None:
    text = (recipes.folder / "base.yaml").read_text()
    recipes.write("base.yaml", text.replace("  name: predrnn\n", "  variant: paper\n"))
    assert "base.yaml:7:12: model.variant: a variant is of an architecture: say model.name too" in told()


def test_problems_of_training_are_told_with_their_place(recipes: Recipes) -> None:
    found = told("train.reverse_batches=true", "data.departure_from=persistence")
    assert found.startswith("override 'train.reverse_batches=true': train.reverse_batches: ")


def test_the_channels_of_known_inputs_are_those_of_the_data() -> None:
    from stkit.data.known import known_names

    for name, channels in EXTRA_CHANNELS.items():
        assert len(known_names([name])) == channels
    assert set(EXTRA_CHANNELS) == set(get_args(get_args(DataConfig.model_fields["extra_inputs"].annotation)[0]))


def test_all_sense_problems_at_once(recipes: Recipes) -> None:
    found = told("data.split.train=1.5", "train.accumulate=9", "evaluate.metrics=[rmse, rmse]", "model.layers=[4, 6]")
    for path in ("data.split.train", "train.accumulate", "evaluate.metrics.1", "model.layers.0"):
        assert f": {path}: " in found


class Zigzag(CellConfig):
    """Reads and writes ``m``; its slot takes a transition."""

    slots = ("transition",)
    heads: int = 2

    def carry_ports(self, width: int) -> dict[str, CarryPort]:
        return {"m": CarryPort(reads=width, writes=width)}

    def problems(self, *, in_channels: int, width: int, carry_in: Any) -> list[str]:
        return [f"{self.heads} heads do not divide {width} channels"] if width % self.heads else []


class Plain(CellConfig):
    """Carries nothing and has no slot."""


class Chain(ModuleConfig):
    """Writes ``D`` for the layer above."""

    def carry_ports(self, width: int) -> dict[str, CarryPort]:
        return {"D": CarryPort(reads=None, writes=width, optional=True)}


class Lonely(CellConfig):
    """Reads what nobody writes."""

    def carry_ports(self, width: int) -> dict[str, CarryPort]:
        return {"z": CarryPort(reads=width, writes=0)}


class Deep(CellConfig):
    """Works on 3-D fields and carries one."""

    depth: int = 2

    @property
    def input_depth(self) -> int:
        return self.depth

    def carry_ports(self, width: int) -> dict[str, CarryPort]:
        return {"m": CarryPort(reads=width, writes=width, depth=self.depth)}


class Lift(CellConfig):
    """Makes fields 3-D."""

    slots = ("transition",)

    @property
    def output_depth(self) -> int:
        return 2


class Flatten(HeadConfig):
    """Reads 3-D fields."""

    everything: bool = False

    @property
    def input_depth(self) -> int:
        return 2

    @property
    def reads_all(self) -> bool:
        return self.everything


def model(*layers: LayerConfig | int, rollout: Any = None, **values: Any) -> ModelConfig:
    made = [layer if isinstance(layer, LayerConfig) else LayerConfig(width=layer) for layer in layers]
    values = {"cell": Zigzag(name="zigzag"), "transition": None, "patch": 1, "head": None} | values
    return ModelConfig.model_construct(
        name=None,
        variant=None,
        layers=tuple(made),
        rollout=rollout or NextFrame(name="next_frame"),
        **values,
    )


def layer(width: int, **values: Any) -> LayerConfig:
    return LayerConfig.model_construct(**({"width": width, "cell": None, "transition": None} | values))


def refused(*arguments: Any, known: int = 0) -> str:
    with pytest.raises(RecipeError) as caught:
        plan(*arguments, known)
    return str(caught.value)


def test_channels_rise_and_memory_returns() -> None:
    nodes = plan(model(4, 4, 4, patch=2), 3)
    assert [node.in_channels for node in nodes] == [12, 4, 4]
    assert [node.layer for node in nodes] == [1, 2, 3]
    assert [dict(node.carry_in) for node in nodes] == [{"m": 4}] * 3
    assert all(node.transition is None for node in nodes)


def test_a_layer_without_the_register_passes_it_on() -> None:
    nodes = plan(model(4, layer(7, cell=Plain(name="plain")), 4), 1)
    assert [dict(node.carry_in) for node in nodes] == [{"m": 4}, {"m": 4}, {"m": 4}]
    assert [node.in_channels for node in nodes] == [1, 4, 7]


def test_unequal_widths_are_refused_with_both_layers() -> None:
    found = refused(model(4, 6, 4), 1)
    assert (
        "model.layers.1: layer 2 (zigzag) needs the carried memory 'm' with 6 channels, but layer 1 hands on 4;"
        in found
    )
    assert (
        "model.layers.2: layer 3 (zigzag) needs the carried memory 'm' with 4 channels, but layer 2 hands on 6;"
        in found
    )
    assert "layer 1" not in found.replace("but layer 1", "")


def test_the_wrap_around_is_checked() -> None:
    found = refused(model(4, 6), 1)
    assert (
        "layer 1 (zigzag) needs the carried memory 'm' with 4 channels, but layer 2 hands on 6 (the memory returns"
        in found
    )


def test_what_a_cell_finds_wrong_names_its_layer() -> None:
    assert "model.layers.0: layer 1 (zigzag): 2 heads do not divide 3 channels" in refused(model(3), 1)


def test_a_register_that_nobody_writes() -> None:
    found = refused(model(4, cell=Lonely(name="lonely")), 1)
    assert found == "model.layers.0: layer 1 (lonely) reads the carried memory 'z', which no layer writes"


LIFT, DEEP = layer(4, cell=Lift(name="lift")), layer(4, cell=Deep(name="deep"))


def test_fields_with_a_depth() -> None:
    plan(model(LIFT, DEEP, DEEP, head=Flatten(name="flatten")), 1)
    assert refused(model(DEEP), 1) == (
        "model.layers.0: layer 1 (deep) takes B C 2 H W, but frames are B C H W; a layer below makes the depth: "
        "'frame_window'"
    )
    assert refused(model(LIFT, 4), 1) == (
        "model.layers.1: layer 2 (zigzag) takes B C H W, but layer 1 (lift) hands up B C 2 H W"
    )
    other = layer(4, cell=Deep(name="deep", depth=3))
    assert refused(model(LIFT, other), 1) == (
        "model.layers.1: layer 2 (deep) takes B C 3 H W, but layer 1 (lift) hands up B C 2 H W"
    )


def test_a_carried_memory_keeps_its_depth() -> None:
    assert refused(model(4, LIFT, DEEP), 1).splitlines() == [
        "model.layers.0: layer 1 (zigzag) reads the carried memory 'm' as B C H W, but layer 3 hands it on as "
        "B C 2 H W",
        "model.layers.2: layer 3 (deep) reads the carried memory 'm' as B C 2 H W, but layer 1 hands it on as B C H W",
    ]


def test_a_head_reads_the_depth_that_arrives() -> None:
    assert refused(model(4, head=Flatten(name="flatten")), 1) == (
        "model.head: the head 'flatten' reads B C 2 H W, but layer 1 (zigzag) hands up B C H W"
    )
    plain = layer(4, cell=Plain(name="plain"))
    assert refused(model(plain, LIFT, head=Flatten(name="flatten", everything=True)), 1) == (
        "model.head: the head 'flatten' reads B C 2 H W, but layer 1 (plain) hands up B C H W"
    )


def test_a_transition_that_takes_no_depth() -> None:
    assert refused(model(layer(4, cell=Lift(name="lift"), transition=Chain(name="chain"))), 1) == (
        "model.layers.0: layer 1 (lift) keeps memories B C 2 H W, and the transition 'chain' works on B C H W alone"
    )


def test_a_transition_goes_where_it_is_sent() -> None:
    chain = Chain(name="chain", layers=(2, 3))
    nodes = plan(model(4, 4, 4, transition=chain), 1)
    assert [node.transition for node in nodes] == [None, chain, chain]
    assert [dict(node.carry_in) for node in nodes] == [{"m": 4}, {"m": 4}, {"m": 4, "D": 4}], "D lives for one step"
    for layers, expected in (("2..", [None, chain, chain]), ("1..2", [chain, chain, None])):
        spanning = Chain(name="chain", layers=layers)
        nodes = plan(model(4, 4, 4, transition=spanning), 1)
        assert [node.transition for node in nodes] == [each and spanning for each in expected]
    passing = plan(model(4, layer(4, cell=Plain(name="plain")), 4, transition=Chain(name="chain", layers="2..")), 1)
    assert [node.transition is None for node in passing] == [True, True, False], "a span passes over it"
    everywhere = plan(model(4, layer(4, cell=Plain(name="plain")), transition=Chain(name="chain")), 1)
    assert [node.transition is None for node in everywhere] == [False, True]


def test_a_layers_own_transition_comes_first() -> None:
    own = Chain(name="own")
    nodes = plan(model(layer(4, transition=own), 4, transition=Chain(name="chain")), 1)
    assert [node.transition.name for node in nodes] == ["own", "chain"]


def test_transitions_that_cannot_be() -> None:
    plain = layer(4, cell=Plain(name="plain"))
    assert "model.transition.layers: there is no layer 0; the layers are 1 to 1" in refused(
        model(4, transition=Chain(name="chain", layers=(0,))), 1
    )
    assert "model.transition.layers: the cell 'plain' of layer 2 has no slot for a transition" in refused(
        model(4, plain, transition=Chain(name="chain", layers=(2,))), 1
    )
    assert refused(model(plain, transition=Chain(name="chain")), 1) == (
        "model.transition: no layer takes a transition: 'plain' has no slot for one"
    )
    assert refused(model(4, plain, transition=Chain(name="chain", layers="2..")), 1) == (
        "model.transition: no layer takes a transition: 'plain' has no slot for one"
    )
    here = layer(4, cell=Plain(name="plain"), transition=Chain(name="chain"))
    assert refused(model(here), 1) == (
        "model.layers.0.transition: the cell 'plain' of layer 1 has no slot for a transition"
    )
    listed = layer(4, transition=Chain(name="chain", layers=(1,)))
    assert refused(model(listed), 1) == (
        "model.layers.0.transition.layers: a transition that is written in a layer is for that layer; 'layers' says "
        "nothing here"
    )


def test_the_forecaster_of_an_encoder_forecaster() -> None:
    silent = EncoderForecaster(name="encoder_forecaster")
    assert [node.in_channels for node in plan_forecaster(model(4, 4, rollout=silent, patch=2), 3)] == [0, 4]
    reading = EncoderForecaster(name="encoder_forecaster", reads_known=True)
    assert [node.in_channels for node in plan_forecaster(model(4, 4, rollout=reading, patch=2), 3)] == [12, 4]
    with pytest.raises(RecipeError, match="there are no known inputs to read"):
        plan_forecaster(model(4, rollout=reading), 0)


def test_a_dry_run_counts_what_is_built(recipes: Recipes) -> None:
    import torch

    from stkit.stacks.build import build_forecaster

    loaded = load("base.yaml", ["data.extra_inputs=[calendar, mask]", "data.crop={height: 8, width: 10}"])
    counted = dry_run(loaded)
    built = build_forecaster(loaded.recipe.model, in_channels=4, out_channels=1, grid=(18, 432))
    assert counted.parameters == sum(p.numel() for p in built.parameters())
    assert (counted.in_channels, counted.out_channels, counted.height, counted.width) == (4, 1, 18, 432)
    assert [c.name for c in counted.layers] == ["layer 1 (st_lstm)", "layer 2 (st_lstm)"]
    assert sum(c.parameters for c in counted.layers) < counted.parameters
    # the 7 gates of x, 4 of h, 3 of m and the output's convolutions, at 5 - 1 steps; multiplied and added
    convolutions = 25 * (7 * 4 * 4 + 4 * 4 * 4 + 3 * 4 * 4 + 8 * 4) + 8 * 4
    second = 25 * (7 * 4 * 4 + 4 * 4 * 4 + 3 * 4 * 4 + 8 * 4) + 8 * 4
    assert counted.flops_per_window == 2 * 4 * 8 * 10 * (convolutions + second + 4)
    assert counted.training_bytes == counted.activation_bytes + 16 * counted.parameters
    assert torch.get_default_device() == torch.device("cpu")


def test_memory_grows_with_the_batch_and_the_crop(recipes: Recipes) -> None:
    small = dry_run(load("base.yaml", ["data.crop={height: 8, width: 10}"]))
    batch = dry_run(load("base.yaml", ["data.crop={height: 8, width: 10}", "train.batch_size=16"]))
    assert batch.activation_bytes == 2 * small.activation_bytes
    assert dry_run(load("base.yaml")).activation_bytes > 90 * small.activation_bytes
