"""MIM: the authors' TensorFlow code, and OpenSTL's port.

OpenSTL keeps the memory S on the module and never resets it, so that what it forecasts depends on what it forecast
before. Here S is state like any other: every forecast is what a fresh model of theirs gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from stkit.interop.architecture import Architecture, present
from stkit.interop.layout import (
    Place,
    Places,
    bare_convolution,
    places_of,
    prefixed,
    tensorflow_convolution,
    torch_convolution,
)
from stkit.interop.predrnn import CELL as OPENSTL_BOTTOM
from stkit.interop.predrnn import HEAD as OPENSTL_HEAD
from stkit.interop.predrnnpp import HEAD
from stkit.interop.weights import Weights
from stkit.stacks.rollout import NextFrame

_X, _M = "xi xg xf o", "i' g' f' o"
_LAYER = (
    tensorflow_convolution("input_to_state", "gates", "x", _X),
    tensorflow_convolution("spatio_state_to_state", "gates", "m", _M),
    tensorflow_convolution("cell_reduce", "fusion", "memory", "h"),
)
BOTTOM = (*_LAYER, tensorflow_convolution("time_state_to_state", "gates", "h", "i g f o"))
BLOCK = (*_LAYER, tensorflow_convolution("time_state_to_state", "gates", "h", "i g o"))
UNIT = (
    tensorflow_convolution("input_to_state", "gates", "signal", "i g f o"),
    tensorflow_convolution("state_to_state", "gates", "returning", "i g f o"),
)
OPENSTL_BLOCK = (
    torch_convolution("conv_x_cc", "gates", "x", _X),
    torch_convolution("conv_t_cc", "gates", "h", "i g o"),
    torch_convolution("conv_s_cc", "gates", "m", _M),
    bare_convolution("conv_last", "fusion", "memory", "h"),
)
OPENSTL_UNIT = (
    torch_convolution("conv_x_concat", "gates", "signal", "i g f o"),
    torch_convolution("conv_h_concat", "gates", "returning", "i g f o"),
)
LEAK = (
    "OpenSTL's MIM never resets the memory S: its second forecast starts from what the first one left, and depends on "
    "the order of the batches. Every forecast here is what a fresh model of OpenSTL gives in its first call; scores "
    "published for these weights were computed with the leak and are not reproduced"
)


def tensorflow(theirs: Weights) -> Architecture:
    """From ``src.models.mim.mim``."""
    scope = theirs.scope("stlstm_1/cell_reduce/kernel")
    layers = theirs.numbers(rf"{scope}stlstm_(\d+)/")
    x = theirs.shape(f"{scope}stlstm_1/input_to_state/kernel", 4)
    gains = theirs.shape(f"{scope}stlstm_2/stlstm_2/oc_weight", 3)
    widths = [theirs.shape(f"{scope}stlstm_{n}/cell_reduce/kernel", 4)[-1] for n in layers]
    options = {"kernel": x[0], "norm": "channel" if f"{scope}stlstm_1/input_to_states" in theirs else None}

    def places(network: NextFrame) -> Places:
        found = places_of(network, HEAD, there=scope, channels_last=True)
        for n, node in enumerate(network.stack.nodes):
            there, here = f"{scope}stlstm_{n + 1}/", f"stack.nodes.{n}."
            found |= places_of(node, BLOCK if n else BOTTOM, there=there, here=here, channels_last=True)
            if n:
                found |= _units(node, here, unit_places, f"{scope}stlstm_diff{n}/", f"{there}stlstm_{n + 1}/")
        return found

    return Architecture(
        title="the released MIM",
        model=_model(widths, options, options, bias=True),
        patch_channels=x[2],
        places=places,
        grid=(gains[0], gains[1]),
    )


def openstl(theirs: Weights) -> Architecture:
    """From OpenSTL's ``MIM_Model``, whose bottom layer is PredRNN's and which has no biases."""
    layers = theirs.numbers(r"stlstm_layer\.(\d+)\.")
    x = theirs.shape("stlstm_layer.0.conv_x.0.weight", 4)
    gains = theirs.shape("stlstm_layer.1.oc_weight", 3)
    widths: list[Any] = [theirs.shape(f"stlstm_layer.{n}.conv_last.weight", 4)[0] for n in layers]
    norm = "pixel" if "stlstm_layer.0.conv_x.1.weight" in theirs else None
    options = {"kernel": x[-1], "norm": norm, "bias": False}
    own = {"shared_input_gates": False, "output_gate_reads": "updated"}
    bottom = {"width": widths[0], "cell": {"name": "st_lstm", **options, **own}}

    def places(network: NextFrame) -> Places:
        found = places_of(network, OPENSTL_HEAD, channels_last=False)
        for n, node in enumerate(network.stack.nodes):
            there, here = f"stlstm_layer.{n}.", f"stack.nodes.{n}."
            inside = OPENSTL_BLOCK if n else OPENSTL_BOTTOM
            found |= places_of(node, inside, there=there, here=here, channels_last=False)
            if n:
                found |= _units(node, here, openstl_unit_places, f"stlstm_layer_diff.{n - 1}.", there)
        return found

    unused = (f"stlstm_layer_diff.{n}.conv_last.{part}" for n in layers for part in ("weight", "bias"))
    return Architecture(
        title="OpenSTL's MIM",
        model=_model([bottom, *widths[1:]], options, options, bias=False),
        patch_channels=x[1],
        places=places,
        grid=(gains[1], gains[2]),
        dropped=present(theirs, unused, "allocated there and never used"),
        notes=(LEAK,),
    )


def unit_places(unit: nn.Module) -> Places:
    """Of one of the two units in the released code."""
    return {**places_of(unit, UNIT, channels_last=True), **_peepholes("c_t_weight", channels_last=True)}


def openstl_unit_places(unit: nn.Module) -> Places:
    """Of one of the two units in OpenSTL."""
    return {**places_of(unit, OPENSTL_UNIT, channels_last=False), **_peepholes("ct_weight", channels_last=False)}


def _units(node: nn.Module, here: str, places: Callable[[nn.Module], Places], mim_n: str, mim_s: str) -> Places:
    """Of a layer's MIM-N and MIM-S, which have these scopes there."""
    found: Places = {}
    for name, scope in (("mim_n", mim_n), ("mim_s", mim_s)):
        path = f"transition.{name}"
        found |= prefixed(places(node.get_submodule(path)), scope, f"{here}{path}.")
    return found


def _peepholes(inner: str, *, channels_last: bool) -> Places:
    return {
        inner: Place(("i", "f"), {"peep_i.weight": ("i",), "peep_f.weight": ("f",)}, channels_last),
        "oc_weight": Place(("o",), {"peep_o.weight": ("o",)}, channels_last),
    }


def _model(layers: list[Any], cell: dict[str, Any], transition: dict[str, Any], *, bias: bool) -> dict[str, Any]:
    return {
        "name": "mim",
        "variant": "official",
        "layers": layers,
        "cell": cell,
        "transition": {"layers": list(range(2, len(layers) + 1)), **transition},
        "head": {"bias": bias},
    }
