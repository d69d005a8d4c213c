"""The plugin's manifest: what it brings, said as data. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stkit.api import CallbackSpec, CellSpec, LossSpec, ModuleSpec, Paper, StackSpec, hookimpl

PAPER = Paper(
    title="Eidetic 3D LSTM: A Model for Video Prediction and Beyond",
    authors="Wang, Jiang, Yang, Li, Long, Fei-Fei",
    year=2019,
    link="ICLR 2019",
    reference_code="https://github.com/google/e3d_lstm (Apache-2.0)",
    parity="stkit_e3d_lstm:parity.json",
)

STANDARD: dict[str, Any] = {
    "cell": {
        "name": "e3d_lstm",
        "kernel": [2, 5, 5],
        "depth": 2,
        "bias": "source",
        "forget_bias": 1.0,
        "norm": {"name": "channel"},
        "update_memory": True,
        "memory_transition": "tanh_conv",
        "output_gate": "double",
    },
    "transition": {"name": "recall", "tau": 5, "start": False, "norm": {"name": "channel"}},
    # A frame window keeps the channels of its input: its width says nothing.
    "layers": [{"width": 1, "cell": {"name": "frame_window", "depth": 2}}, 64, 64, 64, 64],
    "head": {"name": "conv3d", "depth": 2, "kernel": 1, "bias": True},
    "rollout": {"name": "next_frame"},
}
RELEASED_NORM = {"name": "channel", "eps": 1e-12}
RELEASED: dict[str, Any] = {
    **STANDARD,
    "cell": {**STANDARD["cell"], "norm": RELEASED_NORM, "update_memory": False},
    "transition": {"name": "recall", "tau": None, "start": True, "norm": RELEASED_NORM},
}
AS_PRINTED: dict[str, Any] = {
    **STANDARD,
    "cell": {
        **STANDARD["cell"],
        "bias": "gate",
        "forget_bias": 0.0,
        "norm": None,
        "memory_transition": "plain",
        "output_gate": "sigmoid",
    },
}


@hookimpl
def stkit_cells() -> Iterator[CellSpec]:
    """The eidetic 3-D LSTM and the frame window below it."""
    yield CellSpec(
        name="e3d_lstm",
        target="stkit_e3d_lstm.cell:E3DLSTM",
        config="stkit_e3d_lstm.config:E3DLSTMConfig",
        summary="an LSTM with 3-D convolutions whose memory looks back at past memories",
        paper=PAPER,
    )
    yield CellSpec(
        name="frame_window",
        target="stkit_e3d_lstm.window:FrameWindow",
        config="stkit_e3d_lstm.config:FrameWindowConfig",
        summary="the last frames as the depth of a 3-D field",
        paper=PAPER,
    )


@hookimpl
def stkit_modules() -> Iterator[ModuleSpec]:
    """RECALL, for any cell with a slot for a transition, and the decoder of 3-D hidden states."""
    yield ModuleSpec(
        name="recall",
        slot="transition",
        target="stkit_e3d_lstm.recall:Recall",
        config="stkit_e3d_lstm.config:RecallConfig",
        summary="attention over past memories",
        paper=PAPER,
    )
    yield ModuleSpec(
        name="conv3d",
        slot="head",
        target="stkit_e3d_lstm.head:Conv3dHead",
        config="stkit_e3d_lstm.config:Conv3dHeadConfig",
        summary="one convolution over the whole depth of a 3-D hidden state",
        paper=PAPER,
    )


@hookimpl
def stkit_losses() -> Iterator[LossSpec]:
    """The auxiliary task."""
    yield LossSpec(
        name="recognition",
        target="stkit_e3d_lstm.recognition:RecognitionLoss",
        config="stkit_e3d_lstm.config:RecognitionConfig",
        summary="recognition of the direction of motion, and prediction with a falling weight",
        paper=PAPER,
    )


@hookimpl
def stkit_callbacks() -> Iterator[CallbackSpec]:
    """What the auxiliary task needs to know."""
    yield CallbackSpec(
        name="prediction_weight",
        target="stkit_e3d_lstm.recognition:PredictionWeight",
        config="stkit_e3d_lstm.config:PredictionWeightConfig",
        summary="lets the weight of the prediction fall in the loss recognition",
        paper=PAPER,
    )


@hookimpl
def stkit_stacks() -> Iterator[StackSpec]:
    """E3D-LSTM."""
    yield StackSpec(
        name="e3d_lstm",
        variants={"standard": STANDARD, "official": RELEASED, "paper": AS_PRINTED},
        summary="E3D-LSTM: 3-D convolutions over a frame window, and attention over past memories",
        differences={
            "standard": "The released code, but the memory M is handed on updated, RECALL looks at the last 5 memories "
            "and not at the zeros before them, and the norms add 1e-5 to the variance.",
            "official": "The released code with its faults: M is never updated, and RECALL looks at all memories since "
            "the start and at the zeros before it (room for 32); the norms add 1e-12.",
            "paper": "As printed: M' = f'.M + i'.g' without a convolution, the output gate squashed once, nothing "
            "added to the forget gate, one bias for each gate, and a norm in the update of C only.",
        },
        paper=PAPER,
    )
