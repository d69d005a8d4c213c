"""PredRNN and PredRNN-V2: the authors' PyTorch code, and OpenSTL's port with the same names and numbers."""

from __future__ import annotations

from stkit.interop.architecture import Architecture, present
from stkit.interop.layout import Places, bare_convolution, places_of, torch_convolution
from stkit.interop.weights import Weights
from stkit.stacks.rollout import NextFrame

CELL = (
    torch_convolution("conv_x", "gates", "x", "i f g i' f' g' o"),
    torch_convolution("conv_h", "gates", "h", "i f g o"),
    torch_convolution("conv_m", "gates", "m", "i' f' g'"),
    torch_convolution("conv_o", "output", "memory", "o"),
    bare_convolution("conv_last", "fusion", "memory", "h"),
)
HEAD = (bare_convolution("conv_last", "head.convolution", "hidden", "frame"),)
ADAPTER = "adapter.weight"


def places(network: NextFrame) -> Places:
    """Of a whole network."""
    found = places_of(network, HEAD, channels_last=False)
    for n, node in enumerate(network.stack.nodes):
        found |= places_of(node, CELL, there=f"cell_list.{n}.", here=f"stack.nodes.{n}.", channels_last=False)
    return found


def released(theirs: Weights, title: str) -> Architecture:
    """From the authors' ``RNN`` of PredRNN and PredRNN-V2, or OpenSTL's ``PredRNN_Model`` and ``PredRNNv2_Model``."""
    layers = theirs.numbers(r"cell_list\.(\d+)\.")
    x = theirs.shape("cell_list.0.conv_x.0.weight", 4)
    norm = theirs.get("cell_list.0.conv_x.1.weight")
    return Architecture(
        title=f"{title}-V2" if ADAPTER in theirs else title,
        model={
            "name": "predrnn",
            "variant": "official",
            "layers": [theirs.shape(f"cell_list.{n}.conv_last.weight", 4)[0] for n in layers],
            "cell": {"kernel": x[-1], "norm": None if norm is None else "pixel"},
        },
        patch_channels=x[1],
        places=places,
        grid=None if norm is None else (norm.shape[-2], norm.shape[-1]),
        dropped=present(theirs, (ADAPTER,), "belongs to the decoupling loss, which acts in training only"),
    )
