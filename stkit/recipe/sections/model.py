"""The ``model:`` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from stkit.plugin.config import (
    AttentionConfig,
    CellConfig,
    ComponentConfig,
    Config,
    ModuleConfig,
    NonStationaryConfig,
)
from stkit.recipe.component import Component

CellChoice = Annotated[CellConfig, Component("cells")]
TransitionChoice = Annotated[ModuleConfig, Component("modules", slot="transition")]
HeadChoice = Annotated[ComponentConfig, Component("modules", slot="head")]
AttentionChoice = Annotated[AttentionConfig, Component("modules", slot="attention", base=AttentionConfig)]
NonStationaryChoice = Annotated[
    NonStationaryConfig, Component("modules", slot="nonstationary", base=NonStationaryConfig)
]


Attention = dict[str, AttentionChoice | None]


class _Attended(Config):
    """A section with attention by place."""

    @field_validator("attention", mode="before", check_fields=False)
    @classmethod
    def _null_is_none_at_all(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A recipe without these keeps its hash, and so its runs, from before there were any.
        values: dict[str, Any] = handler(self)
        absent: dict[str, Any] = {"attention": {}, "nonstationary": None, "engine": "auto"}
        return {key: value for key, value in values.items() if key not in absent or value != absent[key]}


class LayerConfig(_Attended):
    """One layer of the stack, where it differs from the others."""

    width: int = Field(ge=1)
    """Hidden channels."""
    cell: CellChoice | None = None
    """The layer's cell; null: the model's cell."""
    transition: TransitionChoice | None = None
    """The layer's transition; null: what the model says for this layer."""
    attention: Attention = Field(default_factory=dict)
    """By place, where it differs from the model's; null at a place takes away what the model says for it."""


class NextFrame(Config):
    """Every step predicts the next frame; after the context the model sees its own predictions."""

    name: Literal["next_frame"]


class EncoderForecaster(Config):
    """Encoding-Forecasting structure (Shi et al. 2015): the forecaster starts from the encoder's states."""

    name: Literal["encoder_forecaster"]
    reads_known: bool = False
    """Give the forecaster the known future inputs (calendar, mask). The paper's forecaster has no input."""


RolloutChoice = Annotated[NextFrame | EncoderForecaster, Field(discriminator="name")]


class ModelConfig(_Attended):
    """Which cells, in which layers, rolled out how."""

    name: str | None = None
    """A registered architecture whose values this section starts from (``predrnn``); null: everything is said here."""
    variant: str | None = None
    """The architecture's variant; null: its default."""
    cell: CellChoice
    """The cell of every layer that names no other."""
    layers: tuple[LayerConfig, ...] = Field(min_length=1)
    """Bottom to top. A bare number is a layer of that width; ``cell`` may be a bare name."""
    transition: TransitionChoice | None = None
    """What keeps the memory, in place of the forget gate; null: the cell's own forget gate."""
    attention: Attention = Field(default_factory=dict)
    """Attention by place: at ``x`` (the input), ``h``, ``c``, ``m`` or what other places the cells or the transition
    have, a module for the slot ``attention``; null at a place takes it away again."""
    nonstationary: NonStationaryChoice | None = None
    """What fields that are not stationary go through before the network sees them, and forecasts on their way back;
    null: nothing."""
    patch: int = Field(1, ge=1)
    """Side in cells of the square patches that are folded into channels; fields are padded to a multiple of it."""
    head: HeadChoice
    """What turns the hidden state into a frame."""
    rollout: RolloutChoice
    """How the stack runs over time."""
    engine: Literal["auto", "direct", "winograd", "fused"] = "auto"
    """How the cells' convolutions are computed; it changes rounding and nothing else. ``direct``: one by one;
    ``winograd``: by Winograd's minimal filtering, on a processor in float32; ``fused``: a gate's sources in one, for
    GPUs; ``auto``: on a GPU ``fused``, on a processor ``winograd`` where it is faster."""
