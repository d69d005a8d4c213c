"""Configurations of E3D-LSTM's parts. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stkit.api import CarryPort, CellConfig, Component, ComponentConfig, HeadConfig, ModuleConfig

NormChoice = Annotated[ComponentConfig, Component("modules", slot="norm")]
Side = Annotated[int, Field(ge=1)]


class E3DLSTMConfig(CellConfig):
    """The eidetic 3-D LSTM. The defaults are the released cell, except that the memory M it computes is handed on."""

    slots: ClassVar[tuple[str, ...]] = ("transition",)
    places: ClassVar[tuple[str, ...]] = ("h", "c")

    kernel: tuple[Side, Side, Side] = (2, 5, 5)
    """Depth, height and width of the kernels, in slices and cells."""
    depth: int = Field(2, ge=1)
    """Slices of the tensors: what the frame window below hands up."""
    bias: Literal["none", "gate", "source"] = "source"
    """Offsets of the convolutions: none, one for each gate, or one for each source and gate as released."""
    forget_bias: float = 1.0
    """Added to the forget gate of M before the sigmoid. The released cell adds nothing to the recall gate."""
    norm: NormChoice | None = ComponentConfig(name="channel")
    """Norm of the responses to X, H and M before they are summed, as released; null: none, as printed."""
    update_memory: bool = True
    """Hand on the new memory M. The released cell computes it and hands on the old one, which therefore stays zero."""
    memory_transition: Literal["tanh_conv", "plain"] = "tanh_conv"
    """What the forget gate of M multiplies: ``tanh`` of a convolution of M as released, or M itself as printed."""
    output_gate: Literal["double", "sigmoid"] = "double"
    """``sigmoid(tanh(o))`` as released, or ``sigmoid(o)`` as printed."""

    @property
    def input_depth(self) -> int:
        """``depth``."""
        return self.depth

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        """The memory ``m`` comes in and goes out with the layer's width and the depth."""
        return {"m": CarryPort(reads=width, writes=width, depth=self.depth)}


class FrameWindowConfig(CellConfig):
    """The last frames as the depth of a 3-D field. A layer's width says nothing here: the channels stay as they are."""

    places: ClassVar[tuple[str, ...]] = ("frames",)

    depth: int = Field(2, ge=1)
    """Frames in the window, the newest one last; before the first frame there are zeros."""

    @property
    def output_depth(self) -> int:
        """``depth``."""
        return self.depth

    def out_channels(self, in_channels: int, width: int) -> int:
        """The input's."""
        return in_channels

    def problems(self, *, in_channels: int, width: int, carry_in: Mapping[str, int]) -> Iterable[str]:
        """There must be frames."""
        if not in_channels:
            yield "a frame window needs frames, and this stack takes no input"


class RecallConfig(ModuleConfig):
    """RECALL: attention over past memories in place of the forget gate."""

    takes_depth: ClassVar[bool] = True

    tau: int | None = Field(5, ge=1)
    """Past memories that are attended to, the newest ones (the paper names no number); null: all, up to ``maximum``."""
    maximum: int = Field(32, ge=1)
    """With ``tau: null``, memories that there is room for: give at least the steps of a sequence. Beyond that the
    oldest are forgotten. Room that is not filled costs memory and no time."""
    start: bool = False
    """Count the zeros before the first step as a memory, as released."""
    norm: NormChoice | None = ComponentConfig(name="channel")
    """Norm of ``C + RECALL``."""
    pool: int = Field(1, ge=1)
    """For large grids: side in cells of the squares over which remembered memories are averaged."""
    region: int | None = Field(None, ge=1)
    """For large grids: side in cells of the squares inside which attention stays; null: the whole grid."""

    @property
    def room(self) -> int:
        """Memories that there is room for."""
        return self.maximum if self.tau is None else self.tau

    def problems(self, *, in_channels: int, width: int, carry_in: Mapping[str, int]) -> Iterable[str]:
        """One way to save is enough."""
        if self.pool > 1 and self.region is not None:
            yield "'pool' and 'region' of recall are two ways to save the same cost: choose one"


class Conv3dHeadConfig(HeadConfig):
    """One convolution over the whole depth of the top layer's 3-D hidden state."""

    depth: int = Field(2, ge=1)
    """Slices of the hidden state."""
    kernel: int = Field(1, ge=1)
    """Side in cells."""
    bias: bool = True
    """Add an offset to each channel."""
    zero_init: bool = False
    """Start at zero output: with a departure from a baseline the model starts as the baseline."""
    activation: Literal["sigmoid"] | None = None
    """Squash the output, for fields within 0 and 1."""

    @property
    def input_depth(self) -> int:
        """``depth``."""
        return self.depth


class RecognitionConfig(ComponentConfig):
    """Recognition beside prediction (self-supervised auxiliary learning), with the callback ``prediction_weight``."""

    recognition_weight: float = Field(1.0, ge=0)
    """Weight of the recognition."""
    l1_weight: float = Field(1.0, ge=0)
    """Weight of the mean absolute error in the prediction's part."""
    l2_weight: float = Field(1.0, ge=0)
    """Weight of the mean squared error in the prediction's part."""
    start: float = Field(1.0, ge=0)
    """Weight of the prediction at step 0. This and the next two are choices, not numbers of the paper."""
    decrease_per_step: float = Field(2e-5, ge=0)
    """By how much the weight of the prediction falls in a step."""
    floor: float = Field(0.1, ge=0)
    """The weight of the prediction never falls below this."""


class PredictionWeightConfig(ComponentConfig):
    """Tells the loss ``recognition`` at which step training is."""
