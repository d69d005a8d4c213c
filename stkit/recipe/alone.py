"""A ``model`` section that stands alone, without data and training. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stkit.recipe.compose import Layer, assemble
from stkit.recipe.problem import refuse
from stkit.recipe.sections.model import ModelConfig
from stkit.recipe.shape import check_model
from stkit.recipe.tree import Mark, Source, node_from


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """A recipe's ``model`` section from plain values, with what its architecture says underneath.

    Raises:
        RecipeError: with everything that is wrong.
    """
    source = Source("python", is_file=False)
    composed = assemble("model", [Layer(source, node_from({"model": dict(values)}, Mark(source)))])
    refuse(composed.problems)
    return check_model(composed.tree)
