"""Self-attention and its memory: a third party's code, whose projections differ from the paper's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from stkit_convlstm.cell import ConvLSTM
from torch import Tensor

from stkit.cells.attached import Attached
from stkit.cells.attachment import Attachment
from stkit.modules.attention.self_attention import SelfAttention
from stkit.modules.attention.self_attention_memory import SelfAttentionMemory

from ..golden import Golden, load
from .driving import compare_gradients, everything, run_cell

SELF = {"query_h": "query", "key_h": "key", "value_h": "value", "z": "out"}
MEMORY = {
    "query_h": "query",
    "key_h": "key",
    "value_h": "value",
    "key_m": "memory_key",
    "value_m": "memory_value",
    "z_h": "found",
    "z_m": "memory_found",
    "w_z": "fusion",
}


def self_attention(golden: Golden) -> None:
    """``tsugumi_self_attention_h*``: without the residual; the file has the matrix of weights, too."""
    theirs = golden.parameters()
    keys, channels = theirs["query_h.weight"].shape[:2]
    ours = SelfAttention(channels, keys, residual=False, bias="query_h.bias" in theirs, dtype=torch.float64)
    places = {f"{name}.{part}": f"{place}.{part}" for name, place in SELF.items() for part in ("weight", "bias")}
    places = {name: place for name, place in places.items() if name in theirs}
    load(ours, {place: _flat(theirs[name]) for name, place in places.items()})
    loss = torch.zeros((), dtype=torch.float64)
    t = 0
    while f"in.{t}.x" in golden.tensors:
        x = golden.take(f"in.{t}.x")
        z, _ = ours(x, {})
        tokens = x.flatten(2).mT  # B C H W -> B N C
        weights = (ours.query(tokens) @ ours.key(tokens).mT).softmax(-1)
        for name, value in (("z", z), ("attn", weights)):
            golden.compare(f"step.{t}.{name}", value)
            loss = loss + value.square().sum() / (t + 1)
        t += 1
    golden.compare("out.loss_sumsq", loss.reshape(1))
    compare_gradients(golden, loss, lambda found: _named(found, places, theirs), ours)


def memory(golden: Golden) -> None:
    """``tsugumi_self_attention_memory_*``."""
    theirs = golden.parameters()
    ours = _memory(theirs, "")
    places = _memory_places(theirs, "", "")
    load(ours, _values(theirs, places))
    kept = {"memory": golden.take("in.m")}
    loss = torch.zeros((), dtype=torch.float64)
    t = 0
    while f"in.{t}.x" in golden.tensors:
        h, kept = ours(golden.take(f"in.{t}.x"), kept)
        for name, value in (("h", h), ("m", kept["memory"])):
            golden.compare(f"step.{t}.{name}", value)
            loss = loss + value.square().sum() / (t + 1)
        t += 1
    golden.compare("out.loss_sumsq", loss.reshape(1))
    compare_gradients(golden, loss, lambda found: _named(found, places, theirs), ours)


def cell(golden: Golden) -> None:
    """``tsugumi_sa_convlstm_cell_*``: ConvLSTM with the memory attached to its hidden state."""
    theirs = golden.parameters()
    kernel = theirs["convlstm_cell.conv.weight"]
    width = kernel.shape[0] // 4
    inputs = kernel.shape[1] - width
    grid = (theirs["convlstm_cell.W_ci"].shape[1], theirs["convlstm_cell.W_ci"].shape[2])
    inner = ConvLSTM(inputs, width, kernel=kernel.shape[-1], peephole="pixel", grid=grid, dtype=torch.float64)
    ours = Attached(inner, post={"h": _memory(theirs, "attention_memory.")})
    places = _memory_places(theirs, "attention_memory.", "post.h.")
    places |= {f"convlstm_cell.W_c{gate}": f"cell.w_c{gate}.weight" for gate in "ifo"}
    load(
        ours,
        {
            **_values(theirs, places),
            "cell.gates.kernels.x": kernel[:, :inputs],
            "cell.gates.kernels.h": kernel[:, inputs:],
            "cell.gates.bias": theirs["convlstm_cell.conv.bias"].reshape(4, width, 1, 1),
        },
    )
    # The file calls the attachment's memory m; to ours it is an entry of the state.
    golden.tensors["in.attention.h.memory"] = golden.take("in.m")
    loss = run_cell(
        golden,
        ours,
        state=("h", "c", "attention.h.memory"),
        carry=(),
        named=lambda out: {**everything(out), "m": out.state["attention.h.memory"]},
    )

    def named(found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            **_named(found, places, theirs),
            "convlstm_cell.conv.weight": torch.cat([found["cell.gates.kernels.x"], found["cell.gates.kernels.h"]], 1),
            "convlstm_cell.conv.bias": found["cell.gates.bias"].flatten(),
        }

    compare_gradients(golden, loss, named, ours)


def _memory(theirs: Mapping[str, Tensor], there: str) -> Attachment:
    keys, channels = theirs[there + "query_h.weight"].shape[:2]
    return SelfAttentionMemory(
        channels,
        keys,
        kernel=theirs[there + "w.weight"].shape[-1],
        separable=False,
        project_found=True,
        wide_fusion=True,
        bias=True,
        dtype=torch.float64,
    )


def _memory_places(theirs: Mapping[str, Tensor], there: str, here: str) -> dict[str, str]:
    """Their parameters' names, and ours. The gates' bias has a row for each gate here."""
    parts = ("weight", "bias")
    places = {f"{there}{name}.{part}": f"{here}{place}.{part}" for name, place in MEMORY.items() for part in parts}
    return {**places, f"{there}w.weight": f"{here}gates.kernels.both", f"{there}w.bias": f"{here}gates.bias"}


def _values(theirs: Mapping[str, Tensor], places: Mapping[str, str]) -> dict[str, Tensor]:
    return {place: _as_ours(theirs[name], place) for name, place in places.items()}


def _as_ours(value: Tensor, place: str) -> Tensor:
    if place.endswith("gates.bias"):
        return value.reshape(3, -1, 1, 1)
    return value if "gates" in place or ".w_c" in place else _flat(value)


def _flat(value: Tensor) -> Tensor:
    """A 1x1 kernel as a matrix."""
    return value.flatten(1) if value.ndim == 4 else value


def _named(found: Mapping[str, Tensor], places: Mapping[str, str], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: found[place].reshape(theirs[name].shape) for name, place in places.items()}
