"""From names and values to a forecaster; what does not fit is told with its place in the recipe."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stkit_convlstm.cell import ConvLSTM
from stkit_predrnn.cell import STLSTM

import stkit
from stkit.errors import RecipeError, UsageError
from stkit.plugin.manager import plugins
from stkit.stacks import EncoderForecaster, Forecaster, NextFrame

F64 = torch.float64


def built(name: str = "predrnn", **values: Any) -> Forecaster:
    torch.manual_seed(0)
    return stkit.build(name, **{"layers": [4, 4], "dtype": F64, **values})


def answer(forecaster: Forecaster, seed: int = 5) -> torch.Tensor:
    """Its forecast, with the same random parameters for every model that has as many."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in forecaster.parameters():
        with torch.no_grad():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=F64))
    return forecaster(torch.randn(2, 3, forecaster.in_channels, 6, 5, generator=generator, dtype=F64), 3)


@pytest.mark.parametrize("name", ["convlstm", "predrnn"])
def test_every_variant_is_explained_and_builds(name: str) -> None:
    spec = plugins().resolve("stacks", name)
    assert spec.variants.keys() == spec.differences.keys()
    assert spec.default_variant in spec.variants
    for variant in spec.variants:
        answer(built(name, variant=variant))


def test_the_default_is_the_variant_standard() -> None:
    assert torch.equal(answer(built()), answer(built(variant="standard")))


def test_convlstm_encodes_and_forecasts_as_in_its_paper() -> None:
    network = built("convlstm").network
    assert isinstance(network, EncoderForecaster)
    assert network.forecaster.in_channels == 0
    assert isinstance(built("convlstm", variant="next_frame").network, NextFrame)


def test_the_layers_of_a_stack_may_differ() -> None:
    layers = [3, {"width": 5, "cell": {"name": "conv_lstm", "kernel": 1}}, {"width": 3, "cell": {"kernel": 3}}]
    network = built(layers=layers).network
    assert isinstance(network, NextFrame)
    first, second, third = network.stack.nodes
    assert isinstance(first, STLSTM)
    assert isinstance(second, ConvLSTM)
    assert isinstance(third, STLSTM)
    assert [node.gates.kernels["x"].shape[-1] for node in (first, second, third)] == [5, 1, 3]
    assert network.stack.widths == (3, 5, 3)


def test_a_transition_in_a_layer() -> None:
    """The forget gate as a module, with a bias of its own."""
    plain, moved = built(), built(layers=[4, {"width": 4, "transition": {"name": "forget", "bias": -2.0}}])
    assert isinstance(moved.network, NextFrame)
    assert moved.network.stack.nodes[1].transition.bias == -2.0
    assert not torch.equal(answer(plain), answer(moved))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("predrnn", {"cell": {"kernel": 3}}),
        ("predrnn", {"cell": {"bias": True}}),
        ("predrnn", {"cell": {"forget_bias": 0.0}}),
        ("predrnn", {"cell": {"norm": "channel"}}),
        ("predrnn", {"cell": {"norm": {"name": "channel", "eps": 0.5}}}),
        ("predrnn", {"cell": {"norm": "pixel"}, "grid": (6, 5)}),
        ("predrnn", {"patch": 2}),
        ("predrnn", {"head": {"kernel": 3}}),
        ("predrnn", {"head": {"bias": True}}),
        ("predrnn", {"head": {"reads": "all"}}),
        ("predrnn", {"head": {"activation": "sigmoid"}}),
        ("predrnn", {"transition": {"name": "forget", "bias": -2.0}}),
        ("predrnn", {"transition": {"name": "forget", "bias": -2.0, "layers": [2]}}),
        ("predrnn", {"rollout": {"name": "encoder_forecaster"}}),
        ("convlstm", {"cell": {"kernel": 3}}),
        ("convlstm", {"cell": {"peephole": "none"}}),
        ("convlstm", {"cell": {"peephole": "pixel"}, "grid": (6, 5)}),
        ("convlstm", {"cell": {"bias": False}}),
        ("convlstm", {"cell": {"forget_bias": 1.0}}),
        ("convlstm", {"cell": {"norm": "channel"}}),
        ("convlstm", {"rollout": {"name": "next_frame"}}),
    ],
)
def test_every_option_changes_something(name: str, values: dict[str, Any]) -> None:
    assert not torch.equal(answer(built(name)), answer(built(name, **values)))


def test_reading_known_inputs_changes_the_forecaster() -> None:
    rollout = {"name": "encoder_forecaster", "reads_known": True}
    forecaster = built("convlstm", in_channels=3, out_channels=1, rollout=rollout, patch=2)
    assert isinstance(forecaster.network, EncoderForecaster)
    assert forecaster.network.forecaster.in_channels == 2 * 4
    context = torch.randn(1, 2, 3, 4, 4, dtype=F64)
    one, two = (forecaster(context, 2, known=torch.full((1, 2, 2, 4, 4), v, dtype=F64)) for v in (0.0, 1.0))
    assert not torch.equal(one, two)


def test_zero_init_is_a_start_only() -> None:
    forecaster = built(head={"zero_init": True})
    assert forecaster(torch.randn(1, 2, 1, 4, 4, dtype=F64), 2).abs().max() == 0
    assert all(parameter.requires_grad for parameter in forecaster.parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "predrm"}, "no architecture is called 'predrm'; did you mean 'predrnn'"),
        ({"name": "predrnn", "variant": "offical"}, "no variant 'offical'; did you mean 'official'"),
        ({"name": "predrnn", "cell": {"kernel": 0}}, r"model\.cell\.kernel"),
        ({"name": "predrnn", "cell": {"kernal": 3}}, r"model\.cell\.kernal"),
        ({"name": "predrnn", "cell": {"norm": "pixl"}}, "'norm' is called 'pixl'; did you mean 'pixel'"),
        (
            {"name": "predrnn", "cell": {"norm": "pixel"}},
            r"layer 1 \(st_lstm\): the norm 'pixel' needs to know the grid",
        ),
        (
            {"name": "convlstm", "cell": {"peephole": "pixel"}},
            r"layer 1 \(conv_lstm\): per-pixel peepholes need to know",
        ),
        ({"name": "predrnn", "layers": [4, 6]}, r"layer 2 \(st_lstm\).*'m' with 6 channels, but layer 1 hands on 4"),
        ({"name": "predrnn", "layers": []}, r"model\.layers"),
        (
            {"name": "e3d_lstm", "layers": [4, 4]},
            r"layers\.0: layer 1 \(e3d_lstm\) takes B C 2 H W, but frames are B C H W",
        ),
        ({"name": "e3d_lstm", "head": "conv"}, r"the head 'conv' reads B C H W, but layer 5 \(e3d_lstm\) hands up"),
        ({"name": "predrnn", "head": "conv3d"}, r"the head 'conv3d' reads B C 2 H W, but layer 4 \(st_lstm\) hands"),
        (
            {"name": "e3d_lstm", "transition": {"name": "mim", "layers": [3]}},
            r"layer 3 \(e3d_lstm\) keeps memories B C 2 H W, and the transition 'mim' works on B C H W alone",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        stkit.build(**values)
    assert isinstance(caught.value, UsageError)


def test_weights_for_one_grid_refuse_another() -> None:
    for name, cell in (("predrnn", {"norm": "pixel"}), ("convlstm", {"peephole": "pixel"})):
        forecaster = built(name, cell=cell, grid=(6, 5), patch=2)
        forecaster(torch.zeros(1, 2, 1, 6, 5, dtype=F64), 1)
        with pytest.raises(ValueError, match="fit"):
            forecaster(torch.zeros(1, 2, 1, 6, 7, dtype=F64), 1)


@pytest.mark.parametrize("name", ["convlstm", "predrnn"])
def test_device_and_dtype_reach_every_parameter(name: str) -> None:
    for variant in plugins().resolve("stacks", name).variants:
        there = built(name, variant=variant, device="meta", dtype=torch.bfloat16)
        assert {(p.device.type, p.dtype) for p in there.parameters()} == {("meta", torch.bfloat16)}
        context = torch.zeros(2, 3, 1, 8, 6, device="meta", dtype=torch.bfloat16)
        assert there(context, 2).shape == (2, 2, 1, 8, 6)


@pytest.mark.parametrize("name", ["convlstm", "predrnn"])
def test_half_precision_runs(name: str) -> None:
    out = built(name, dtype=torch.bfloat16)(torch.randn(1, 2, 1, 4, 4, dtype=torch.bfloat16), 2)
    assert out.dtype == torch.bfloat16
    mixed = built(name, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mixed.rollout(torch.randn(1, 4, 1, 4, 4), 2).predictions.float().square().mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in mixed.parameters() if p.grad is not None)


def test_names_of_parameters_are_those_of_checkpoints() -> None:
    """A change here breaks every checkpoint: it must be meant."""
    assert sorted(built(layers=[4], variant="paper").state_dict()) == sorted(
        [
            *(f"network.stack.nodes.0.gates.kernels.{s}" for s in "xhm"),
            *(f"network.stack.nodes.0.gates.norms.{s}.{p}" for s in "xhm" for p in ("weight", "bias")),
            "network.stack.nodes.0.gates.bias",
            "network.stack.nodes.0.output.kernels.memory",
            "network.stack.nodes.0.output.norms.memory.weight",
            "network.stack.nodes.0.output.norms.memory.bias",
            "network.stack.nodes.0.fusion.kernels.memory",
            "network.head.convolution.kernels.hidden",
        ]
    )
    one = ("gates.kernels.h", "gates.bias", "w_ci.weight", "w_cf.weight", "w_co.weight")
    assert sorted(built("convlstm", layers=[4]).state_dict()) == sorted(
        [
            *(f"network.{stack}.nodes.0.{name}" for stack in ("encoder", "forecaster") for name in one),
            "network.encoder.nodes.0.gates.kernels.x",
            "network.head.convolution.kernels.hidden",
            "network.head.convolution.biases.hidden",
        ]
    )
