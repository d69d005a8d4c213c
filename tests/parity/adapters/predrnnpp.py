"""PredRNN++: the authors' TensorFlow code, and OpenSTL's port."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from stkit_predrnnpp.causal_lstm import CausalLSTM
from stkit_predrnnpp.ghu import GHU
from torch import Tensor

from stkit.cells import StepOut
from stkit.interop import predrnnpp
from stkit.interop.layout import places_of

from ..golden import Golden, channels_first
from .driving import compare_named_gradients, everything, fill, imported, run_next_frame, weights
from .tensorflow import channel_norm, compare_squares, nchw, squared_loss


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
    places = places_of(ours, predrnnpp.CAUSAL, there=scope, channels_last=True)
    fill(ours, places, theirs)

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
    compare_named_gradients(golden, loss, places, ours)


def ghu(golden: Golden) -> None:
    """``tf_ghu_*``."""
    theirs = golden.parameters()
    scope = next(name for name in theirs if name.endswith("input_to_state/kernel")).removesuffix(
        "input_to_state/kernel"
    )
    x = theirs[scope + "input_to_state/kernel"]
    norm = channel_norm(scope + "input_to_states" in theirs)
    ours = GHU(x.shape[2], x.shape[3] // 2, kernel=x.shape[0], norm=norm, dtype=torch.float64)
    places = places_of(ours, predrnnpp.HIGHWAY, there=scope, channels_last=True)
    fill(ours, places, theirs)

    batch, height, wide, _ = golden.take("in.0.x").shape
    state = ours.initial_state(batch, height, wide, dtype=torch.float64)
    steps: list[dict[str, Tensor]] = []
    while f"in.{len(steps)}.x" in golden.tensors:
        out = ours.step(nchw(golden.take(f"in.{len(steps)}.x")), state, {})
        state = out.state
        steps.append(everything(out))
    loss = compare_squares(golden, steps)
    compare_named_gradients(golden, loss, places, ours)


def model(golden: Golden) -> None:
    """``tf_predrnnpp_model_*``: the variant ``official``."""
    forecaster, network, places = imported(golden, predrnnpp.tensorflow(weights(golden)))

    def find(step: list[StepOut], name: str) -> Tensor:
        node, _, what = name.partition(".")
        return everything(step[_place(node, "lstm_", 1)])[what].movedim(1, -1)

    out = run_next_frame(golden, forecaster, network.stack, find, "out.gen_images_BTHWC")
    loss = squared_loss(golden, out.predictions)
    compare_named_gradients(golden, loss, places, network)


def openstl_model(golden: Golden) -> None:
    """``openstl_predrnnpp_model_*``."""
    forecaster, network, places = imported(golden, predrnnpp.openstl(weights(golden), "openstl-1.0"))

    def find(step: list[StepOut], name: str) -> Tensor:
        node, _, what = name.partition(".")
        return everything(step[_place(node, "l", 0)])[what]

    out = run_next_frame(golden, forecaster, network.stack, find)
    loss = F.mse_loss(out.predictions, channels_first(golden.take("in.frames_BTHWC"))[:, 1:])
    golden.compare("out.loss", loss.reshape(1))
    compare_named_gradients(golden, loss, places, network)


def _place(node: str, prefix: str, first: int) -> int:
    """Where a node of theirs is in our stack: the highway is above the bottom layer."""
    if not node.removeprefix(prefix).isdecimal():
        return predrnnpp.HIGHWAY_PLACE
    layer = int(node.removeprefix(prefix)) - first
    return layer + (layer >= predrnnpp.HIGHWAY_PLACE)
