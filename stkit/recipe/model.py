"""The recipe: what is trained on what, and how it is scored."""

from __future__ import annotations

from pydantic import Field

from stkit.plugin.config import Config
from stkit.recipe.sections.data import DataConfig
from stkit.recipe.sections.evaluate import EvaluateConfig
from stkit.recipe.sections.model import ModelConfig
from stkit.recipe.sections.train import TrainConfig


class Recipe(Config):
    """One experiment."""

    summary: str = ""
    """One line for the index of recipes and the report."""
    seed: int = Field(0, ge=0)
    """Of the weights, the order of the data and the sampling."""
    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
