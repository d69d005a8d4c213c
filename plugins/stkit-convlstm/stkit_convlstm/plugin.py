"""The plugin's manifest: what it brings, said as data. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stkit.api import CellSpec, Paper, StackSpec, hookimpl

PAPER = Paper(
    title="Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting",
    authors="Shi, Chen, Wang, Yeung, Wong, Woo",
    year=2015,
    link="arXiv:1506.04214",
    reference_code="none was published",
    parity="stkit_convlstm:parity.json",
)

AS_PRINTED: dict[str, Any] = {
    "cell": {"name": "conv_lstm", "kernel": 5, "peephole": "channel", "bias": True, "forget_bias": 0.0, "norm": None},
    "layers": [128, 64, 64],
    "head": {"name": "conv", "kernel": 1, "bias": True, "reads": "all"},
    "rollout": {"name": "encoder_forecaster"},
}
NEXT_FRAME: dict[str, Any] = {
    "cell": {"name": "conv_lstm", "kernel": 5, "peephole": "none", "bias": False, "forget_bias": 0.0, "norm": None},
    "layers": [128, 64, 64],
    "head": {"name": "conv", "kernel": 1, "bias": False, "reads": "top"},
    "rollout": {"name": "next_frame"},
}


@hookimpl
def stkit_cells() -> Iterator[CellSpec]:
    """The ConvLSTM cell."""
    yield CellSpec(
        name="conv_lstm",
        target="stkit_convlstm.cell:ConvLSTM",
        config="stkit_convlstm.config:ConvLSTMConfig",
        summary="an LSTM whose products with weights are convolutions",
        paper=PAPER,
    )


@hookimpl
def stkit_stacks() -> Iterator[StackSpec]:
    """The Encoding-Forecasting network, and the next-frame network of later comparisons."""
    yield StackSpec(
        name="convlstm",
        variants={"standard": AS_PRINTED, "paper": AS_PRINTED, "next_frame": NEXT_FRAME},
        summary="ConvLSTM with its encoder and forecaster",
        differences={
            "standard": "The equations as printed; there is no released code.",
            "paper": "The same as standard.",
            "next_frame": "One stack that predicts the next frame, without peepholes and biases: the ConvLSTM that "
            "later papers and OpenSTL compare with.",
        },
        paper=PAPER,
    )
