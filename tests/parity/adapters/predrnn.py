"""PredRNN and PredRNN-V2: the authors' PyTorch code, and OpenSTL's port with the same names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from stkit_predrnn.cell import STLSTM
from stkit_predrnn.decoupling import DecouplingLoss

from stkit.interop import predrnn
from stkit.interop.layout import places_of, theirs_of

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
    places = places_of(ours, predrnn.CELL, channels_last=False)
    fill(ours, places, theirs)
    loss = run_cell(golden, ours, state=("h", "c"), carry=("m",))
    compare_named_gradients(golden, loss, places, ours)


def model(golden: Golden) -> None:
    """``*_predrnn_model_*``; with an ``adapter`` among the parameters PredRNN-V2 and its decoupling loss."""
    theirs = weights(golden)
    forecaster, network, places = imported(golden, predrnn.released(theirs, "PredRNN"))
    forecaster.hand_out_increments(wanted=predrnn.ADAPTER in theirs)
    out = run_next_frame(golden, forecaster, network.stack)
    target = channels_first(golden.take("in.frames_BTHWC"))[:, 1:]
    if predrnn.ADAPTER not in theirs:
        loss = F.mse_loss(out.predictions, target)
        compare_named_gradients(golden, loss, places, network)
    else:
        width = network.stack.widths[0]
        decoupling = DecouplingLoss(width, golden.config.get("decouple_beta", 0.1), dtype=torch.float64)
        load(decoupling, {"adapter.weight": theirs[predrnn.ADAPTER]})
        terms = decoupling(out.predictions, target, torch.ones_like(target, dtype=torch.bool), out.aux)
        loss = torch.stack([total / count for total, count in terms.values()]).sum()
        compare_gradients(
            golden,
            loss,
            lambda found: {**theirs_of(places, found), predrnn.ADAPTER: found["adapter.weight"]},
            network,
            decoupling,
        )
    golden.compare("out.loss", loss.reshape(1))
