"""E3D-LSTM: the authors' TensorFlow code. OpenSTL's port is refused."""

from __future__ import annotations

from typing import NoReturn

from torch import nn

from stkit.errors import CheckpointError
from stkit.interop.architecture import Architecture
from stkit.interop.layout import Convolution, Place, Places, places_of, prefixed
from stkit.interop.weights import Weights
from stkit.stacks.rollout import NextFrame


def _convolution(name: str, block: str, source: str, gates: str, norm: str = "") -> Convolution:
    """TensorFlow numbered the convolutions in the order in which the released code makes them."""
    gain, offset = (f"{norm}/gamma", f"{norm}/beta") if norm else ("", "")
    return Convolution(block, source, gates, f"{name}/kernel", f"{name}/bias", gain, offset)


CELL = (
    _convolution("conv3d_1", "gates", "x", "i g r o i' g' f'", "inputs"),
    _convolution("conv3d", "gates", "h", "i g r o", "hidden"),
    _convolution("conv3d_2", "gates", "m", "i' f' g' m'", "global_memory"),
    _convolution("conv3d_3", "output", "c", "o"),
    _convolution("conv3d_4", "output", "m", "o"),
    _convolution("conv3d_5", "fusion", "memory", "h"),
)
HEAD = (_convolution("conv3d", "head.convolution", "hidden", "frame"),)
FAULT = (
    "the released cell hands on the memory M that came in instead of the one it computed, so that M stays zero; the "
    "imported model does the same, as the variant 'official'"
)


def tensorflow(theirs: Weights, steps: int) -> Architecture:
    """From ``src.models.eidetic_3d_lstm_net.rnn``.

    Args:
        theirs: the variables.
        steps: frames of context and forecast together, for which RECALL gets room.
    """
    scope = theirs.scope("e3d0/conv3d_5/kernel")
    layers = theirs.numbers(rf"{scope}e3d(\d+)/")
    x = theirs.shape(f"{scope}e3d0/conv3d_1/kernel", 5)
    depth = theirs.shape(f"{scope}conv3d/kernel", 5)[0]
    widths = [theirs.shape(f"{scope}e3d{n}/conv3d_5/kernel", 5)[-1] for n in layers]

    def places(network: NextFrame) -> Places:
        found = places_of(network, HEAD, there=scope, channels_last=True)
        kernel = f"{scope}conv3d/kernel"
        found[kernel] = Place(("frame",), found[kernel].ours, True, folded_depth=depth)
        for n, node in enumerate(network.stack.nodes[1:]):
            found |= prefixed(cell_places(node), f"{scope}e3d{n}/", f"stack.nodes.{n + 1}.")
        return found

    return Architecture(
        title="the released E3D-LSTM",
        model={
            "name": "e3d_lstm",
            "variant": "official",
            "layers": [{"width": 1, "cell": {"name": "frame_window", "depth": depth}}, *widths],
            "cell": {"kernel": list(x[:3]), "depth": depth},
            "transition": {"maximum": steps},
            "head": {"depth": depth},
        },
        patch_channels=x[3],
        places=places,
        notes=(
            FAULT,
            f"RECALL has room for {steps} memories, one for each frame of context and forecast; beyond that the "
            "oldest are forgotten, where the released code keeps all",
        ),
    )


def cell_places(cell: nn.Module) -> Places:
    """Of one cell."""
    norm = {"self_attn/gamma": "transition.norm.weight", "self_attn/beta": "transition.norm.bias"}
    return {
        **places_of(cell, CELL, channels_last=True),
        **{theirs: Place(("c",), {ours: ("c",)}, True) for theirs, ours in norm.items()},
    }


def refuse_openstl(theirs: Weights) -> NoReturn:
    """OpenSTL's port computes something that no option here computes.

    Raises:
        CheckpointError: always.
    """
    raise CheckpointError(
        f"{theirs.where}: OpenSTL's E3D-LSTM cannot be reproduced. Its attention takes runs of neighbouring numbers in "
        "memory for the cells of the grid (a reshape without a permutation), its 3-D convolutions make one slice and "
        "copy it to the others, and its memory M is never updated, so that the parameters conv_gm never learnt "
        "anything. Its weights make no sense in a network without these faults; train `e3d_lstm` instead, or import "
        "the authors' own weights with `stkit import e3d-lstm`"
    )
