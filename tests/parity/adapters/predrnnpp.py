"""PredRNN++: the authors' TensorFlow code, and OpenSTL's port."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from stkit_predrnnpp.causal_lstm import CausalLSTM
from stkit_predrnnpp.ghu import GHU
from torch import Tensor

import stkit
from stkit.cells import StepOut
from stkit.stacks import Forecaster, NextFrame

from ..golden import Golden, channels_first, load
from .driving import compare_gradients, everything, run_next_frame
from .layout import (
    Convolution,
    places_of,
    prefixed,
    tensorflow_convolution,
    theirs_of,
    torch_convolution,
    values_of,
)
from .tensorflow import HEAD, channel_norm, compare_squares, nchw, squared_loss

CAUSAL = (
    tensorflow_convolution("input_to_state", "arriving", "x", "i g f o i' g' f'", "x2c"),
    tensorflow_convolution("temporal_state_transition", "arriving", "h", "i g f o", "h2c"),
    tensorflow_convolution("temporal_memory_transition", "arriving", "c", "i g f", "c2c"),
    tensorflow_convolution("spatial_memory_transition", "arriving", "m", "i' f' w3", "m2m"),
    tensorflow_convolution("c2m", "temporal", "c", "i' g' f' o"),
    tensorflow_convolution("m_to_o", "spatial", "m", "o", "m2o"),
    tensorflow_convolution("memory_reduce", "reduced", "memories", "h"),
)
HIGHWAY = (
    tensorflow_convolution("input_to_state", "gates", "x", "p s"),
    tensorflow_convolution("state_to_state", "gates", "z", "p s"),
)
OPENSTL_CAUSAL = (
    torch_convolution("conv_x", "arriving", "x", "i f g i' f' g' o"),
    torch_convolution("conv_h", "arriving", "h", "i f g o"),
    torch_convolution("conv_c", "arriving", "c", "i f g"),
    torch_convolution("conv_m", "arriving", "m", "i' f' w3"),
    torch_convolution("conv_c2m", "temporal", "c", "i' g' f' o"),
    torch_convolution("conv_om", "spatial", "m", "o"),
    Convolution("reduced", "memories", "h", "conv_last.weight", "conv_last.bias", "", ""),
)
OPENSTL_HIGHWAY = (
    torch_convolution("x_concat", "gates", "x", "p s"),
    torch_convolution("z_concat", "gates", "z", "p s"),
)
OPENSTL_HEAD = (Convolution("head.convolution", "hidden", "frame", "conv_last.weight", "conv_last.bias", "", ""),)


def cell(golden: Golden) -> None:
    """``tf_causal_cell_*``; M comes from outside at every step for which the file has one."""
    theirs = golden.parameters()
    scope = next(name for name in theirs if name.endswith("memory_reduce/kernel")).removesuffix("memory_reduce/kernel")
    x, m = theirs[scope + "input_to_state/kernel"], theirs[scope + "spatial_memory_transition/kernel"]
    width = theirs[scope + "memory_reduce/bias"].shape[0]
    ours = CausalLSTM(
        x.shape[2],
        width,
        m.shape[2],
        kernel=x.shape[0],
        norm=channel_norm(scope + "x2cs" in theirs),
        dtype=torch.float64,
    )
    places = places_of(ours, CAUSAL, there=scope, channels_last=True)
    load(ours, values_of(places, theirs))

    batch, height, wide, _ = golden.take("in.0.x").shape
    state = ours.initial_state(batch, height, wide, dtype=torch.float64)
    carry = ours.initial_carry(batch, height, wide, dtype=torch.float64)
    state |= {name: nchw(golden.take(f"in.{name}")) for name in ("h", "c") if f"in.{name}" in golden.tensors}
    if "in.m" in golden.tensors:
        carry = {"m": nchw(golden.take("in.m"))}
    steps: list[dict[str, Tensor]] = []
    while f"in.{len(steps)}.x" in golden.tensors:
        given = f"in.{len(steps)}.m"
        if given in golden.tensors:
            carry = {"m": nchw(golden.take(given))}
        out = ours.step(nchw(golden.take(f"in.{len(steps)}.x")), state, carry)
        state, carry = out.state, out.carry
        steps.append(everything(out))
    loss = compare_squares(golden, steps)
    compare_gradients(golden, loss, lambda found: theirs_of(places, found), ours)


def ghu(golden: Golden) -> None:
    """``tf_ghu_*``."""
    theirs = golden.parameters()
    scope = next(name for name in theirs if name.endswith("input_to_state/kernel")).removesuffix(
        "input_to_state/kernel"
    )
    x = theirs[scope + "input_to_state/kernel"]
    norm = channel_norm(scope + "input_to_states" in theirs)
    ours = GHU(x.shape[2], x.shape[3] // 2, kernel=x.shape[0], norm=norm, dtype=torch.float64)
    places = places_of(ours, HIGHWAY, there=scope, channels_last=True)
    load(ours, values_of(places, theirs))

    batch, height, wide, _ = golden.take("in.0.x").shape
    state = ours.initial_state(batch, height, wide, dtype=torch.float64)
    steps: list[dict[str, Tensor]] = []
    while f"in.{len(steps)}.x" in golden.tensors:
        out = ours.step(nchw(golden.take(f"in.{len(steps)}.x")), state, {})
        state = out.state
        steps.append(everything(out))
    loss = compare_squares(golden, steps)
    compare_gradients(golden, loss, lambda found: theirs_of(places, found), ours)


def model(golden: Golden) -> None:
    """``tf_predrnnpp_model_*``: the variant ``official``."""
    theirs, scope = golden.parameters(), "predrnn_pp/"
    count = sum(name.endswith("memory_reduce/kernel") for name in theirs)
    nodes = ["lstm_1", "highway", *(f"lstm_{n}" for n in range(2, count + 1))]
    widths = [theirs[f"{scope}{n}/memory_reduce/bias"].shape[0] for n in nodes if n != "highway"]
    kernel = theirs[f"{scope}lstm_1/input_to_state/kernel"].shape[0]
    norm = "channel" if f"{scope}lstm_1/x2cs" in theirs else None
    forecaster, network = _build(golden, "official", widths, {"kernel": kernel, "norm": norm}, {})
    places = places_of(network, HEAD, there=scope, channels_last=True)
    for n, (name, node) in enumerate(zip(nodes, network.stack.nodes, strict=True)):
        inside = places_of(node, HIGHWAY if name == "highway" else CAUSAL, channels_last=True)
        places |= prefixed(inside, f"{scope}{name}/", f"stack.nodes.{n}.")
    load(network, values_of(places, theirs))

    def find(step: list[StepOut], name: str) -> Tensor:
        node, _, what = name.partition(".")
        return everything(step[nodes.index(node)])[what].movedim(1, -1)

    out = run_next_frame(golden, forecaster, network.stack, find, "out.gen_images_BTHWC")
    loss = squared_loss(golden, out.predictions)
    compare_gradients(golden, loss, lambda found: theirs_of(places, found), network)


def openstl_model(golden: Golden) -> None:
    """``openstl_predrnnpp_model_*``; ``conv_o`` of its cells is allocated and never used."""
    theirs = {name: value for name, value in golden.parameters().items() if ".conv_o." not in name}
    count = sum(name.endswith("conv_x.0.weight") for name in theirs)
    nodes = ["l0", "ghu", *(f"l{n}" for n in range(1, count))]
    widths = [theirs[f"cell_list.{n}.conv_last.weight"].shape[0] for n in range(count)]
    cell = {
        "kernel": theirs["cell_list.0.conv_x.0.weight"].shape[-1],
        "norm": "pixel" if "cell_list.0.conv_x.1.weight" in theirs else None,
        "bias": False,
    }
    forecaster, network = _build(golden, "standard", widths, cell, {"bias": False})
    places = places_of(network, OPENSTL_HEAD, channels_last=False)
    for n, (name, node) in enumerate(zip(nodes, network.stack.nodes, strict=True)):
        inside = places_of(node, OPENSTL_HIGHWAY if name == "ghu" else OPENSTL_CAUSAL, channels_last=False)
        there = "gradient_highway." if name == "ghu" else f"cell_list.{name.removeprefix('l')}."
        places |= prefixed(inside, there, f"stack.nodes.{n}.")
    load(network, values_of(places, theirs))

    def find(step: list[StepOut], name: str) -> Tensor:
        node, _, what = name.partition(".")
        return everything(step[nodes.index(node)])[what]

    out = run_next_frame(golden, forecaster, network.stack, find)
    loss = F.mse_loss(out.predictions, channels_first(golden.take("in.frames_BTHWC"))[:, 1:])
    golden.compare("out.loss", loss.reshape(1))
    compare_gradients(golden, loss, lambda found: theirs_of(places, found), network)


def _build(
    golden: Golden, variant: str, widths: list[int], cell: dict[str, object], head: dict[str, object]
) -> tuple[Forecaster, NextFrame]:
    frames = channels_first(golden.take("in.frames_BTHWC"))
    forecaster = stkit.build(
        "predrnnpp",
        variant=variant,
        in_channels=frames.shape[2],
        layers=[widths[0], {"width": widths[0], "cell": {"name": "ghu", **cell}}, *widths[1:]],
        cell=cell,
        head=head,
        grid=tuple(frames.shape[-2:]),
        dtype=torch.float64,
    )
    network = forecaster.network
    assert isinstance(network, NextFrame)
    return forecaster, network
