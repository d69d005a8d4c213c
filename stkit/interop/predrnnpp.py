"""PredRNN++: the authors' TensorFlow code, and OpenSTL's port.

In OpenSTL before version 1.0, which made the published weights, the gates of C read M where they should read C.
"""

from __future__ import annotations

from typing import Any

from stkit.errors import CheckpointError
from stkit.interop.architecture import Architecture, Semantics, present
from stkit.interop.layout import (
    Convolution,
    Places,
    bare_convolution,
    places_of,
    tensorflow_convolution,
    torch_convolution,
)
from stkit.interop.weights import Weights
from stkit.stacks.rollout import NextFrame

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
HEAD = (tensorflow_convolution("back_to_pixel", "head.convolution", "hidden", "frame"),)

OPENSTL_CAUSAL = (
    torch_convolution("conv_x", "arriving", "x", "i f g i' f' g' o"),
    torch_convolution("conv_h", "arriving", "h", "i f g o"),
    torch_convolution("conv_c", "arriving", "c", "i f g"),
    torch_convolution("conv_m", "arriving", "m", "i' f' w3"),
    torch_convolution("conv_c2m", "temporal", "c", "i' g' f' o"),
    torch_convolution("conv_om", "spatial", "m", "o"),
    bare_convolution("conv_last", "reduced", "memories", "h"),
)
OPENSTL_HIGHWAY = (
    torch_convolution("x_concat", "gates", "x", "p s"),
    torch_convolution("z_concat", "gates", "z", "p s"),
)
OPENSTL_HEAD = (bare_convolution("conv_last", "head.convolution", "hidden", "frame"),)
OPENSTL_DEAD = ("conv_o.0.weight", "conv_o.1.weight", "conv_o.1.bias")
"""Allocated by OpenSTL's cell and never used."""

HIGHWAY_PLACE = 1
"""Of the highway among the nodes, from 0."""


def tensorflow(theirs: Weights) -> Architecture:
    """From ``nets.predrnn_pp.rnn``."""
    scope = theirs.scope("lstm_1/memory_reduce/kernel")
    layers = theirs.numbers(rf"{scope}lstm_(\d+)/")
    x = theirs.shape(f"{scope}lstm_1/input_to_state/kernel", 4)
    widths = [theirs.shape(f"{scope}lstm_{n}/memory_reduce/kernel", 4)[-1] for n in layers]
    options = {"kernel": x[0], "norm": "channel" if f"{scope}lstm_1/x2cs" in theirs else None}
    names = [f"{scope}{name}/" for name in _with_highway([f"lstm_{n}" for n in layers], "highway")]
    return Architecture(
        title="the released PredRNN++",
        model=_model("official", widths, options, {}),
        patch_channels=x[2],
        places=lambda network: _places(network, names, (CAUSAL, HIGHWAY, HEAD), scope, channels_last=True),
    )


def openstl(theirs: Weights, semantics: Semantics) -> Architecture:
    """From OpenSTL's ``PredRNNpp_Model``.

    Raises:
        CheckpointError: it has a layer norm, with which OpenSTL's own model cannot run.
    """
    if "gradient_highway.x_concat.1.weight" in theirs:
        raise CheckpointError(
            f"{theirs.where}: a PredRNN++ with layer norm, which OpenSTL itself cannot run (the norm of its highway "
            "has half of the channels it is given): there is nothing to reproduce"
        )
    layers = theirs.numbers(r"cell_list\.(\d+)\.")
    x = theirs.shape("cell_list.0.conv_x.0.weight", 4)
    widths = [theirs.shape(f"cell_list.{n}.conv_last.weight", 4)[0] for n in layers]
    norm = theirs.get("cell_list.0.conv_x.1.weight")
    options = {"kernel": x[-1], "norm": None if norm is None else "pixel", "bias": False}
    read = "m" if semantics == "openstl-0.3" else "c"
    names = _with_highway([f"cell_list.{n}." for n in layers], "gradient_highway.")
    parts = (OPENSTL_CAUSAL, OPENSTL_HIGHWAY, OPENSTL_HEAD)
    unused = (f"cell_list.{n}.{name}" for n in layers for name in OPENSTL_DEAD)
    return Architecture(
        title="OpenSTL's PredRNN++",
        model=_model("standard", widths, options, {"gates_read": read}, bias=False),
        patch_channels=x[1],
        places=lambda network: _places(network, names, parts, "", channels_last=False),
        grid=None if norm is None else (norm.shape[-2], norm.shape[-1]),
        dropped=present(theirs, unused, "allocated there and never used"),
    )


def _with_highway(layers: list[str], highway: str) -> list[str]:
    return [*layers[:HIGHWAY_PLACE], highway, *layers[HIGHWAY_PLACE:]]


def _model(
    variant: str, widths: list[int], options: dict[str, Any], cell: dict[str, Any], bias: bool = True
) -> dict[str, Any]:
    highway = {"width": widths[0], "cell": {"name": "ghu", **options}}
    return {
        "name": "predrnnpp",
        "variant": variant,
        "layers": [*widths[:HIGHWAY_PLACE], highway, *widths[HIGHWAY_PLACE:]],
        "cell": {**options, **cell},
        "head": {"bias": bias},
    }


def _places(
    network: NextFrame,
    names: list[str],
    parts: tuple[tuple[Convolution, ...], ...],
    scope: str,
    *,
    channels_last: bool,
) -> Places:
    """Of the whole network, whose nodes have these names there."""
    causal, highway, head = parts
    found = places_of(network, head, there=scope, channels_last=channels_last)
    for n, (name, node) in enumerate(zip(names, network.stack.nodes, strict=True)):
        inside = highway if n == HIGHWAY_PLACE else causal
        found |= places_of(node, inside, there=name, here=f"stack.nodes.{n}.", channels_last=channels_last)
    return found
