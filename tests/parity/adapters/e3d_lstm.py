"""E3D-LSTM: the authors' TensorFlow code, and OpenSTL's port with its faults put on from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from stkit_e3d_lstm.cell import E3DLSTM
from stkit_e3d_lstm.recall import Recall
from torch import Tensor, nn

import stkit
from stkit.cells import Engine, GateBlock, StepOut, Tensors, Transition
from stkit.interop import e3d_lstm
from stkit.interop.layout import prefixed
from stkit.modules.norm.norms import ChannelNorm, PixelNorm
from stkit.stacks import Forecaster, NextFrame

from ..golden import Golden, channels_first, load
from .driving import compare_gradients, compare_named_gradients, everything, fill, imported, run_next_frame, weights
from .tensorflow import compare_squares, nchw

EPS = 1e-12
OUT = "out.out_ims_BTHWC"


class LastFrames(Golden):
    """A file that has the forecasts after the context only."""

    def compare(self, name: str, ours: Tensor) -> None:
        super().compare(name, ours[:, -self.tensors[OUT].shape[1] :] if name == OUT else ours)


def cell(golden: Golden) -> None:
    """``tf_e3d_cell_*``: the memories start with the memory that the file gives."""
    theirs = golden.parameters()
    scope = next(name for name in theirs if name.endswith("conv3d_5/kernel")).removesuffix("conv3d_5/kernel")
    x, c = theirs[scope + "conv3d_1/kernel"], nchw(golden.take("in.c"))
    width, depth = c.shape[1:3]
    steps = sum(name.endswith(".x") for name in golden.names("in."))
    ours = E3DLSTM(
        x.shape[3],
        width,
        kernel=(x.shape[0], x.shape[1], x.shape[2]),
        depth=depth,
        norm=_norm,
        update_memory=False,
        transition=Recall(width, tau=steps + 1, depth=depth, start=True, norm=_norm),
        dtype=torch.float64,
    )
    places = prefixed(e3d_lstm.cell_places(ours), scope, "")
    fill(ours, places, theirs)

    state = ours.initial_state(c.shape[0], *c.shape[-2:], dtype=torch.float64)
    state |= {"h": nchw(golden.take("in.h")), "c": c, "transition.memory.1": golden.take("in.c")}
    carry = {"m": nchw(golden.take("in.m"))}
    found: list[dict[str, Tensor]] = []
    for t in range(steps):
        out = ours.step(nchw(golden.take(f"in.{t}.x")), state, carry)
        state, carry = out.state, out.carry
        found.append(everything(out))
    loss = compare_squares(golden, found)
    compare_named_gradients(golden, loss, places, ours)


def model(golden: Golden) -> None:
    """``tf_e3d_model*``: the variant ``official``."""
    steps = golden.take("in.frames_BTHWC").shape[1]
    forecaster, network, places = imported(golden, e3d_lstm.tensorflow(weights(golden), steps))

    def find(step: list[StepOut], name: str) -> Tensor:
        layer, _, what = name.removeprefix("e3d").partition(".")
        return everything(step[1 + int(layer)])[what].movedim(1, -1)

    held = LastFrames(golden.path, golden.tensors, golden.config, golden.used, golden.errors)
    out = run_next_frame(held, forecaster, network.stack, find, OUT)
    difference = out.predictions - channels_first(golden.take("in.frames_BTHWC"))[:, 1:]
    loss = difference.square().sum() / 2 + difference.abs().sum()
    golden.compare("out.loss", loss.reshape(1))

    compare_named_gradients(golden, loss, places, network)


class Scrambled(Transition):
    """Attention as OpenSTL's port computes it: each run of C numbers in memory counts as a cell, cells or not."""

    def __init__(self, room: int, norm: nn.Module, depth: int, width: int) -> None:
        super().__init__()
        self.room, self.norm, self.size = room, norm, (width, depth)

    def initial_state(self, batch: int, height: int, width: int, device: Any = None, dtype: Any = None) -> Tensors:
        size = (batch, *self.size, height, width)
        taken = torch.zeros(batch, dtype=torch.int64)
        return {"taken": taken, **{f"past{n}": torch.zeros(size, dtype=dtype) for n in range(self.room)}}

    def forward(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        assert gate is not None
        count = int(state["taken"][0]) + 1
        past = torch.cat([state[f"past{n}"] for n in range(count)], dim=1)
        queries, keys = (v.reshape(len(c), -1, c.shape[1]) for v in (gate.sigmoid(), past))
        found = (queries @ keys.mT).softmax(-1) @ keys
        return self.norm(c + found.reshape(c.shape)), state, carry

    def commit(self, c_new: Tensor, state: Tensors) -> Tensors:
        count = int(state["taken"][0]) + 1
        return {**state, f"past{count}": c_new, "taken": state["taken"] + 1}


class Folded(Engine):
    """Convolves all slices into one and copies it to every slice; kernels of one slice do what they should."""

    def __call__(self, block: GateBlock, inputs: Mapping[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for name, source in block.sources.items():
            kernel = block.kernels[name]
            signal = torch.cat(inputs[name], dim=1)
            response = F.conv3d(
                signal, kernel, block.bias_of(name), padding=(0, *(side // 2 for side in kernel.shape[3:]))
            )
            response = block.norms[name](response.expand(-1, -1, signal.shape[2], -1, -1))
            for gate, part in zip(source.gates, response.split(block.width, dim=1), strict=True):
                total[gate] = total[gate] + part if gate in total else part
        return total


OPENSTL = {
    "conv_x.0.conv3d.weight": "gates.kernels.x",
    "conv_x.1": "gates.norms.x",
    "conv_h.0.conv3d.weight": "gates.kernels.h",
    "conv_h.1": "gates.norms.h",
    "conv_gm.0.conv3d.weight": "gates.kernels.m",
    "conv_gm.1": "gates.norms.m",
    "conv_new_cell.0.conv3d.weight": "output.kernels.c",
    "conv_new_cell.1": "output.norms.c",
    "conv_new_gm.0.conv3d.weight": "output.kernels.m",
    "conv_new_gm.1": "output.norms.m",
    "conv_last.conv3d.weight": "fusion.kernels.memory",
    "_norm_c_t": "transition.norm",
}
"""A cell's parameters; a norm stands for its weight and bias."""


def openstl_model(golden: Golden) -> None:
    """``openstl_e3dlstm_model_*``: our network with that port's convolution, attention and norms in place of ours."""
    theirs = golden.parameters()
    layers = weights(golden).numbers(r"cell_list\.(\d+)\.")
    widths = [theirs[f"cell_list.{n}.conv_last.conv3d.weight"].shape[0] for n in layers]
    kernel = theirs["cell_list.0.conv_x.0.conv3d.weight"].shape[2:]
    head = theirs["conv_last.weight"]
    forecaster, network = _build(golden, widths, tuple(kernel), head.shape[2], {"bias": "none", "norm": None})
    grid = (head.shape[2], *golden.take("in.frames_BTHWC").shape[2:4])
    room = golden.take("in.frames_BTHWC").shape[1] + 1
    places = {}
    for n, node in enumerate(network.stack.nodes):
        if not n:
            continue
        assert isinstance(node, E3DLSTM)
        for block in (node.gates, node.output, node.fusion):
            block.engine = Folded()
        for path, inside in OPENSTL.items():
            gain = theirs.get(f"cell_list.{n - 1}.{path}.weight")
            if gain is None:
                places[f"cell_list.{n - 1}.{path}"] = f"{_node(n - 1)}{inside}"
                continue
            norm = PixelNorm(gain.shape[0], grid, dtype=torch.float64)
            if inside == "transition.norm":
                node.transition = Scrambled(room, norm, grid[0], widths[n - 1])
            else:
                owner, _, name = inside.rpartition(".")
                node.get_submodule(owner)[name] = norm  # type: ignore[operator]
            for part in ("weight", "bias"):
                places[f"cell_list.{n - 1}.{path}.{part}"] = f"{_node(n - 1)}{inside}.{part}"
    kernels = "head.convolution.kernels.hidden"
    places = {name: place for name, place in places.items() if name in theirs}
    load(network, {**{p: theirs[n] for n, p in places.items()}, kernels: head.flatten(1, 2)})

    def find(step: list[StepOut], name: str) -> Tensor:
        layer, _, what = name.partition(".")
        return everything(step[1 + int(layer.removeprefix("l"))])[what]

    out = run_next_frame(golden, forecaster, network.stack, find)
    target = channels_first(golden.take("in.frames_BTHWC"))[:, 1:]
    loss = F.mse_loss(out.predictions, target) + F.l1_loss(out.predictions, target)
    golden.compare("out.loss", loss.reshape(1))

    def named(found: dict[str, Tensor]) -> dict[str, Tensor]:
        last = found[kernels].unflatten(1, (-1, head.shape[2]))
        return {**{name: found[place] for name, place in places.items()}, "conv_last.weight": last}

    compare_gradients(golden, loss, named, network)


def _build(
    golden: Golden, widths: list[int], kernel: tuple[int, ...], depth: int, cell: dict[str, Any]
) -> tuple[Forecaster, NextFrame]:
    frames = channels_first(golden.take("in.frames_BTHWC"))
    forecaster = stkit.build(
        "e3d_lstm",
        variant="official",
        in_channels=frames.shape[2],
        layers=[{"width": 1, "cell": {"name": "frame_window", "depth": depth}}, *widths],
        cell={"kernel": list(kernel), "depth": depth, **cell},
        transition={"maximum": frames.shape[1] + 1},
        head={"depth": depth, "bias": cell.get("bias") != "none"},
        dtype=torch.float64,
    )
    network = forecaster.network
    assert isinstance(network, NextFrame)
    return forecaster, network


def _norm(channels: int) -> nn.Module:
    return ChannelNorm(1, channels, eps=EPS, dtype=torch.float64)


def _node(layer: int) -> str:
    """Above the window."""
    return f"stack.nodes.{layer + 1}."
