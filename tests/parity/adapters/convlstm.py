"""ConvLSTM: OpenSTL's (no peepholes, no biases) and a third party's with peepholes per pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from stkit_convlstm.cell import ConvLSTM
from torch import Tensor

import stkit
from stkit.stacks import NextFrame

from ..golden import Golden, channels_first, load
from .driving import compare_gradients, layers, pixel_norm, run_cell, run_next_frame

PLACES = {
    "conv_x.0.weight": "gates.kernels.x",
    "conv_h.0.weight": "gates.kernels.h",
    "conv_x.1.weight": "gates.norms.x.weight",
    "conv_x.1.bias": "gates.norms.x.bias",
    "conv_h.1.weight": "gates.norms.h.weight",
    "conv_h.1.bias": "gates.norms.h.bias",
}
DEAD = ("conv_o.0.weight", "conv_o.1.weight", "conv_o.1.bias", "conv_last.weight")
"""Allocated by OpenSTL's cell and never used."""


def openstl_cell(golden: Golden) -> None:
    """``openstl_convlstm_cell_*``."""
    theirs = {name: value for name, value in golden.parameters().items() if name not in DEAD}
    x, h = theirs["conv_x.0.weight"], theirs["conv_h.0.weight"]
    norm = pixel_norm(theirs.get("conv_x.1.weight"))
    ours = ConvLSTM(
        x.shape[1], h.shape[1], kernel=x.shape[-1], peephole="none", bias=False, norm=norm, dtype=torch.float64
    )
    load(ours, {PLACES[name]: value for name, value in theirs.items()})
    loss = run_cell(golden, ours, state=("h", "c"), carry=())
    compare_gradients(golden, loss, lambda found: {name: found[PLACES[name]] for name in theirs}, ours)


def openstl_model(golden: Golden) -> None:
    """``openstl_convlstm_model_*``."""
    theirs = {n: v for n, v in golden.parameters().items() if n == "conv_last.weight" or not n.endswith(DEAD)}
    kernels = [theirs[f"cell_list.{place}.conv_h.0.weight"] for place in range(layers(theirs))]
    frames = channels_first(golden.take("in.frames_BTHWC"))
    forecaster = stkit.build(
        "convlstm",
        variant="next_frame",
        in_channels=frames.shape[2],
        layers=[kernel.shape[1] for kernel in kernels],
        cell={
            "kernel": kernels[0].shape[-1],
            "norm": "pixel" if "cell_list.0.conv_x.1.weight" in theirs else None,
        },
        grid=tuple(frames.shape[-2:]),
        dtype=torch.float64,
    )
    network = forecaster.network
    assert isinstance(network, NextFrame)
    places = {name: _place(name) for name in theirs}
    load(network, {ours: theirs[name] for name, ours in places.items()})
    out = run_next_frame(golden, forecaster, network.stack)
    loss = F.mse_loss(out.predictions, frames[:, 1:])
    golden.compare("out.loss", loss.reshape(1))
    compare_gradients(golden, loss, lambda found: {name: found[place] for name, place in places.items()}, network)


def tsugumi_peephole_cell(golden: Golden) -> None:
    """``tsugumi_convlstm_peephole_cell_*``: one convolution over ``[x, h]``, gates in the order i, f, g, o."""
    theirs = golden.parameters()
    kernel = theirs["conv.weight"]
    width = kernel.shape[0] // 4
    inputs = kernel.shape[1] - width
    grid = (theirs["W_ci"].shape[1], theirs["W_ci"].shape[2])
    ours = ConvLSTM(inputs, width, kernel=kernel.shape[-1], peephole="pixel", grid=grid, dtype=torch.float64)
    peepholes = {f"W_c{gate}": f"w_c{gate}.weight" for gate in "ifo"}
    load(
        ours,
        {
            "gates.kernels.x": kernel[:, :inputs],
            "gates.kernels.h": kernel[:, inputs:],
            "gates.bias": theirs["conv.bias"].reshape(4, width, 1, 1),
            **{place: theirs[name] for name, place in peepholes.items()},
        },
    )
    loss = run_cell(golden, ours, state=("h", "c"), carry=())

    def named(found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            "conv.weight": torch.cat([found["gates.kernels.x"], found["gates.kernels.h"]], dim=1),
            "conv.bias": found["gates.bias"].flatten(),
            **{name: found[place] for name, place in peepholes.items()},
        }

    compare_gradients(golden, loss, named, ours)


def _place(name: str) -> str:
    if name == "conv_last.weight":
        return "head.convolution.kernels.hidden"
    _, place, inside = name.split(".", 2)
    return f"stack.nodes.{place}.{PLACES[inside]}"
