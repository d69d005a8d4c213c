"""The ``model:`` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stkit.plugin.config import CellConfig, ComponentConfig, Config, ModuleConfig
from stkit.recipe.component import Component

CellChoice = Annotated[CellConfig, Component("cells")]
TransitionChoice = Annotated[ModuleConfig, Component("modules", slot="transition")]
HeadChoice = Annotated[ComponentConfig, Component("modules", slot="head")]


class LayerConfig(Config):
    """One layer of the stack, where it differs from the others."""

    width: int = Field(ge=1)
    """Hidden channels."""
    cell: CellChoice | None = None
    """The layer's cell; null: the model's cell."""
    transition: TransitionChoice | None = None
    """The layer's transition; null: what the model says for this layer."""


class NextFrame(Config):
    """Every step predicts the next frame; after the context the model sees its own predictions."""

    name: Literal["next_frame"]


class EncoderForecaster(Config):
    """Encoding-Forecasting structure (Shi et al. 2015): the forecaster starts from the encoder's states."""

    name: Literal["encoder_forecaster"]
    reads_known: bool = False
    """Give the forecaster the known future inputs (calendar, mask). The paper's forecaster has no input."""


RolloutChoice = Annotated[NextFrame | EncoderForecaster, Field(discriminator="name")]


class ModelConfig(Config):
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
    patch: int = Field(1, ge=1)
    """Side in cells of the square patches that are folded into channels; fields are padded to a multiple of it."""
    head: HeadChoice
    """What turns the hidden state into a frame."""
    rollout: RolloutChoice
    """How the stack runs over time."""
