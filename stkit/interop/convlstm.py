"""ConvLSTM as OpenSTL has it: without peepholes and biases, one stack that predicts the next frame.

Its version 0.3, which made the published weights, computes ``H = o . g``; from 1.0 on ``H = o . tanh(C)``.
"""

from __future__ import annotations

from typing import Any

from stkit.interop.architecture import Architecture, Semantics, present
from stkit.interop.layout import Places, bare_convolution, places_of, torch_convolution
from stkit.interop.weights import Weights
from stkit.stacks.rollout import NextFrame

CELL = (
    torch_convolution("conv_x", "gates", "x", "i f g o"),
    torch_convolution("conv_h", "gates", "h", "i f g o"),
)
HEAD = (bare_convolution("conv_last", "head.convolution", "hidden", "frame"),)
DEAD = ("conv_o.0.weight", "conv_o.1.weight", "conv_o.1.bias", "conv_last.weight")
"""Allocated by OpenSTL's cell and never used."""

CELL_0_3 = "openstl_0_3_conv_lstm"


def places(network: NextFrame) -> Places:
    """Of a whole network."""
    found = places_of(network, HEAD, channels_last=False)
    for n, node in enumerate(network.stack.nodes):
        found |= places_of(node, CELL, there=f"cell_list.{n}.", here=f"stack.nodes.{n}.", channels_last=False)
    return found


def openstl(theirs: Weights, semantics: Semantics) -> Architecture:
    """From OpenSTL's ``ConvLSTM_Model``."""
    layers = theirs.numbers(r"cell_list\.(\d+)\.")
    x = theirs.shape("cell_list.0.conv_x.0.weight", 4)
    widths = [theirs.shape(f"cell_list.{n}.conv_h.0.weight", 4)[1] for n in layers]
    norm = theirs.get("cell_list.0.conv_x.1.weight")
    cell: dict[str, Any] = {"kernel": x[-1], "norm": None if norm is None else "pixel"}
    model: dict[str, Any] = {"name": "convlstm", "variant": "next_frame", "layers": widths, "cell": cell}
    if semantics == "openstl-0.3":
        model["cell"] = {"name": CELL_0_3, **cell}
    unused = (f"cell_list.{n}.{name}" for n in layers for name in DEAD)
    return Architecture(
        title="OpenSTL's ConvLSTM",
        model=model,
        patch_channels=x[1],
        places=places,
        grid=None if norm is None else (norm.shape[-2], norm.shape[-1]),
        dropped=present(theirs, unused, "allocated there and never used"),
    )
