"""ConvLSTM: OpenSTL's (no peepholes, no biases) and a third party's with peepholes per pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from stkit_convlstm.cell import ConvLSTM
from torch import Tensor

from stkit.interop import convlstm
from stkit.interop.layout import places_of

from ..golden import Golden, channels_first, load
from .driving import (
    compare_gradients,
    compare_named_gradients,
    fill,
    imported,
    pixel_norm,
    run_cell,
    run_next_frame,
    weights,
)


def openstl_cell(golden: Golden) -> None:
    """``openstl_convlstm_cell_*``."""
    theirs = {name: value for name, value in golden.parameters().items() if name not in convlstm.DEAD}
    x, h = theirs["conv_x.0.weight"], theirs["conv_h.0.weight"]
    norm = pixel_norm(theirs.get("conv_x.1.weight"))
    ours = ConvLSTM(
        x.shape[1], h.shape[1], kernel=x.shape[-1], peephole="none", bias=False, norm=norm, dtype=torch.float64
    )
    places = places_of(ours, convlstm.CELL, channels_last=False)
    fill(ours, places, theirs)
    loss = run_cell(golden, ours, state=("h", "c"), carry=())
    compare_named_gradients(golden, loss, places, ours)


def openstl_model(golden: Golden) -> None:
    """``openstl_convlstm_model_*``."""
    forecaster, network, places = imported(golden, convlstm.openstl(weights(golden), "openstl-1.0"))
    out = run_next_frame(golden, forecaster, network.stack)
    loss = F.mse_loss(out.predictions, channels_first(golden.take("in.frames_BTHWC"))[:, 1:])
    golden.compare("out.loss", loss.reshape(1))
    compare_named_gradients(golden, loss, places, network)


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
