"""The plugin's manifest: what it brings, said as data. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stkit.api import CellSpec, LossSpec, Paper, StackSpec, hookimpl

CODE = "https://github.com/thuml/predrnn-pytorch (no licence file)"
PARITY = "stkit_predrnn:parity.json"
PAPER = Paper(
    title="PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs",
    authors="Wang, Long, Wang, Gao, Yu",
    year=2017,
    link="NIPS 2017",
    reference_code=CODE,
    parity=PARITY,
)
PAPER_V2 = Paper(
    title="PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning",
    authors="Wang, Wu, Zhang, Gao, Wang, Yu, Long",
    year=2021,
    link="arXiv:2103.09504",
    reference_code=CODE,
    parity=PARITY,
)

RELEASED: dict[str, Any] = {
    "cell": {"name": "st_lstm", "kernel": 5, "bias": False, "forget_bias": 1.0, "norm": None},
    "layers": [128, 128, 128, 128],
    "head": {"name": "conv", "kernel": 1, "bias": False, "reads": "top"},
    "rollout": {"name": "next_frame"},
}
AS_PRINTED: dict[str, Any] = {
    **RELEASED,
    "cell": {"name": "st_lstm", "kernel": 5, "bias": True, "forget_bias": 0.0, "norm": {"name": "channel"}},
}


@hookimpl
def stkit_cells() -> Iterator[CellSpec]:
    """The spatiotemporal LSTM."""
    yield CellSpec(
        name="st_lstm",
        target="stkit_predrnn.cell:STLSTM",
        config="stkit_predrnn.config:STLSTMConfig",
        summary="an LSTM with a second memory that runs through the layers",
        paper=PAPER,
    )


@hookimpl
def stkit_losses() -> Iterator[LossSpec]:
    """The loss of PredRNN-V2."""
    yield LossSpec(
        name="decoupling",
        target="stkit_predrnn.decoupling:DecouplingLoss",
        config="stkit_predrnn.config:DecouplingConfig",
        summary="mean squared error, and the two memories kept apart",
        paper=PAPER_V2,
    )


@hookimpl
def stkit_stacks() -> Iterator[StackSpec]:
    """PredRNN."""
    yield StackSpec(
        name="predrnn",
        variants={"standard": RELEASED, "official": RELEASED, "paper": AS_PRINTED},
        summary="PredRNN: spatiotemporal LSTMs with a memory in zigzag",
        differences={
            "standard": "The released code: no biases, 1 added to the forget gates, no norm.",
            "official": "The same numbers as standard; the released layer norm is `norm: pixel`.",
            "paper": "Biases, nothing added to the forget gates, and a norm with one gain for each channel.",
        },
        paper=PAPER,
    )
