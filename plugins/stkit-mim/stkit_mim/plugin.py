"""The plugin's manifest: what it brings, said as data. Imports no torch.

The architectures name the cells of PredRNN and PredRNN++ and import nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stkit.api import ModuleSpec, Paper, StackSpec, hookimpl

PAPER = Paper(
    title="Memory In Memory: A Predictive Neural Network for Learning Higher-Order Non-Stationarity from "
    "Spatiotemporal Dynamics",
    authors="Wang, Zhang, Zhu, Long, Wang, Yu",
    year=2019,
    link="arXiv:1811.07490",
    reference_code="https://github.com/Yunbo426/MIM (no licence file)",
    parity="stkit_mim:parity.json",
)

RELEASED: dict[str, Any] = {"bias": "source", "forget_bias": 1.0, "norm": {"name": "channel"}}
PRINTED: dict[str, Any] = {"bias": True, "forget_bias": 0.0, "norm": {"name": "channel"}}
AS_PRINTED: dict[str, Any] = {**PRINTED, "source": "input", "recurrence": "paper"}


def network(cell: dict[str, Any], transition: dict[str, Any]) -> dict[str, Any]:
    """Four layers of one cell, all but the bottom one with MIM, as with any other number of ``layers``."""
    return {
        "cell": {"kernel": 5, **cell},
        "layers": [64, 64, 64, 64],
        "transition": {"name": "mim", "layers": "2..", "kernel": 5, **transition},
        "head": {"name": "conv", "kernel": 1, "bias": True, "reads": "top"},
        "rollout": {"name": "next_frame"},
    }


ST_LSTM: dict[str, Any] = {
    "name": "st_lstm",
    **RELEASED,
    "shared_input_gates": True,
    "output_gate_reads": "arriving",
}
CAUSAL_LSTM: dict[str, Any] = {
    "name": "causal_lstm",
    **PRINTED,
    "output_gate_reads_hidden": False,
    "spatial_input_reads_memory": True,
    "memory_kernel": 1,
}


@hookimpl
def stkit_modules() -> Iterator[ModuleSpec]:
    """What keeps a memory by looking at what changes."""
    yield ModuleSpec(
        name="mim",
        slot="transition",
        target="stkit_mim.transition:MIM",
        config="stkit_mim.config:MIMConfig",
        summary="MIM-N and MIM-S, non-stationary and stationary, in place of the forget gate",
        paper=PAPER,
    )


@hookimpl
def stkit_stacks() -> Iterator[StackSpec]:
    """MIM, and MIM* on Causal LSTMs."""
    yield StackSpec(
        name="mim",
        variants={
            "standard": network(ST_LSTM, {**RELEASED, "source": "below"}),
            "official": network(ST_LSTM, {**RELEASED, "source": "below", "peephole": "pixel", "initial_range": 0.001}),
            "paper": network({"name": "st_lstm", **PRINTED}, AS_PRINTED),
        },
        summary="MIM: a spatiotemporal LSTM below, three with Memory In Memory above",
        differences={
            "standard": "The released network, with peepholes for each channel so that the weights fit any grid.",
            "official": "The same with the released peepholes for each pixel, and the released start of MIM-N.",
            "paper": "The equations as printed: every layer differences its own input, N and S are convolved, the two "
            "memories have input gates of their own, the output gate sees the new C and M, nothing is added to the "
            "forget gates.",
        },
        paper=PAPER,
    )
    yield StackSpec(
        name="mim_star",
        variants={
            "standard": network({"name": "causal_lstm", **RELEASED}, {**RELEASED, "source": "below"}),
            "paper": network(CAUSAL_LSTM, AS_PRINTED),
        },
        summary="MIM*: a Causal LSTM below, three with Memory In Memory above",
        differences={
            "standard": "The released Causal LSTM and the released MIM modules; the authors released no MIM* itself.",
            "paper": "Both as printed.",
        },
        paper=PAPER,
    )
