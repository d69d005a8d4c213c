"""PredRNN and PredRNN-V2: the authors' PyTorch code, and OpenSTL's port with the same names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from stkit_predrnn.cell import STLSTM
from stkit_predrnn.decoupling import DecouplingLoss

import stkit
from stkit.stacks import NextFrame

from ..golden import Golden, channels_first, load
from .driving import compare_gradients, layers, pixel_norm, run_cell, run_next_frame

PLACES = {
    "conv_x.0.weight": "gates.kernels.x",
    "conv_h.0.weight": "gates.kernels.h",
    "conv_m.0.weight": "gates.kernels.m",
    "conv_o.0.weight": "output.kernels.memory",
    "conv_last.weight": "fusion.kernels.memory",
    "conv_x.1.weight": "gates.norms.x.weight",
    "conv_x.1.bias": "gates.norms.x.bias",
    "conv_h.1.weight": "gates.norms.h.weight",
    "conv_h.1.bias": "gates.norms.h.bias",
    "conv_m.1.weight": "gates.norms.m.weight",
    "conv_m.1.bias": "gates.norms.m.bias",
    "conv_o.1.weight": "output.norms.memory.weight",
    "conv_o.1.bias": "output.norms.memory.bias",
}
"""A cell's parameters there, and here. The blocks of the gates are in the same order."""


def cell(golden: Golden) -> None:
    """``*_stlstm_cell_*`` and ``*_stlstmv2_cell_*``."""
    theirs = golden.parameters()
    ours = STLSTM(
        theirs["conv_x.0.weight"].shape[1],
        theirs["conv_last.weight"].shape[0],
        kernel=theirs["conv_x.0.weight"].shape[-1],
        norm=pixel_norm(theirs.get("conv_x.1.weight")),
        dtype=torch.float64,
    )
    load(ours, {PLACES[name]: value for name, value in theirs.items()})
    loss = run_cell(golden, ours, state=("h", "c"), carry=("m",))
    compare_gradients(golden, loss, lambda found: {name: found[PLACES[name]] for name in theirs}, ours)


def model(golden: Golden) -> None:
    """``*_predrnn_model_*``; with an ``adapter`` among the parameters PredRNN-V2 and its decoupling loss."""
    theirs = golden.parameters()
    widths = [theirs[f"cell_list.{place}.conv_last.weight"].shape[0] for place in range(layers(theirs))]
    frames = channels_first(golden.take("in.frames_BTHWC"))
    forecaster = stkit.build(
        "predrnn",
        variant="official",
        in_channels=frames.shape[2],
        layers=widths,
        cell={
            "kernel": theirs["cell_list.0.conv_x.0.weight"].shape[-1],
            "norm": "pixel" if "cell_list.0.conv_x.1.weight" in theirs else None,
        },
        grid=tuple(frames.shape[-2:]),
        dtype=torch.float64,
    )
    network = forecaster.network
    assert isinstance(network, NextFrame)
    places = {name: _place(name) for name in theirs if name != "adapter.weight"}
    load(network, {ours: theirs[name] for name, ours in places.items()})

    out = run_next_frame(golden, forecaster, network.stack)
    target = frames[:, 1:]
    if "adapter.weight" not in theirs:
        loss = F.mse_loss(out.predictions, target)
        compare_gradients(golden, loss, lambda found: {n: found[p] for n, p in places.items()}, network)
    else:
        decoupling = DecouplingLoss(widths[0], golden.config.get("decouple_beta", 0.1), dtype=torch.float64)
        load(decoupling, {"adapter.weight": theirs["adapter.weight"]})
        terms = decoupling(out.predictions, target, torch.ones_like(target, dtype=torch.bool), out.aux)
        loss = torch.stack([total / count for total, count in terms.values()]).sum()
        places["adapter.weight"] = "adapter.weight"
        compare_gradients(golden, loss, lambda found: {n: found[p] for n, p in places.items()}, network, decoupling)
    golden.compare("out.loss", loss.reshape(1))


def _place(name: str) -> str:
    if name == "conv_last.weight":
        return "head.convolution.kernels.hidden"
    _, place, inside = name.split(".", 2)
    return f"stack.nodes.{place}.{PLACES[inside]}"
