"""The plugin's manifest: what it brings, said as data. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stkit.api import CellSpec, Paper, StackSpec, hookimpl

PAPER = Paper(
    title="PredRNN++: Towards A Resolution of the Deep-in-Time Dilemma in Spatiotemporal Predictive Learning",
    authors="Wang, Gao, Long, Wang, Yu",
    year=2018,
    link="arXiv:1804.06300",
    reference_code="https://github.com/Yunbo426/predrnn-pp (no licence file)",
    parity="stkit_predrnnpp:parity.json",
)


def network(cell: dict[str, Any], highway: dict[str, Any]) -> dict[str, Any]:
    """Four Causal LSTMs, and the highway between the first two."""
    return {
        "cell": {"name": "causal_lstm", "kernel": 5, **cell},
        "layers": [128, {"width": 128, "cell": {"name": "ghu", "kernel": 5, **highway}}, 64, 64, 64],
        "head": {"name": "conv", "kernel": 1, "bias": True, "reads": "top"},
        "rollout": {"name": "next_frame"},
    }


NORMED: dict[str, Any] = {"bias": "source", "norm": {"name": "channel"}}
START: dict[str, Any] = {"initial_range": 0.001}
EQUATIONS: dict[str, Any] = {
    "forget_bias": 0.0,
    "output_gate_reads_hidden": False,
    "spatial_input_reads_memory": True,
    "memory_kernel": 1,
}
PRINTED: dict[str, Any] = {"bias": True, "norm": {"name": "channel"}}


@hookimpl
def stkit_cells() -> Iterator[CellSpec]:
    """The Causal LSTM and the Gradient Highway Unit."""
    yield CellSpec(
        name="causal_lstm",
        target="stkit_predrnnpp.causal_lstm:CausalLSTM",
        config="stkit_predrnnpp.config:CausalLSTMConfig",
        summary="two memories in a cascade, the second updated from the first",
        paper=PAPER,
    )
    yield CellSpec(
        name="ghu",
        target="stkit_predrnnpp.ghu:GHU",
        config="stkit_predrnnpp.config:GHUConfig",
        summary="a gradient highway, to stand between layers",
        paper=PAPER,
    )


@hookimpl
def stkit_stacks() -> Iterator[StackSpec]:
    """PredRNN++."""
    yield StackSpec(
        name="predrnnpp",
        variants={
            "standard": network(NORMED, NORMED),
            "official": network({**NORMED, **START}, {**NORMED, **START}),
            "paper": network({**PRINTED, **EQUATIONS}, PRINTED),
        },
        summary="PredRNN++: Causal LSTMs and a gradient highway",
        differences={
            "standard": "The released cells with their norms, the weights starting within 1/sqrt(fan_in).",
            "official": "The same numbers as standard, the weights starting within 0.001 as released.",
            "paper": "The equations as printed: the output gate does not see H, g' sees M, W3 is 1x1, nothing is "
            "added to the forget gates; one offset for each gate.",
        },
        paper=PAPER,
    )
