"""What a plugin's callback is: something that acts during training because a recipe names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stkit.plugin.config import ComponentConfig

if TYPE_CHECKING:
    from stkit.recipe.model import Recipe
    from stkit.train.objective import Objective


@dataclass
class CallbackContext:
    """What a callback may look at. ``stop_reason`` is the one thing it may set."""

    recipe: Recipe
    run: Path
    """The run directory. Only the main process may write there."""
    objective: Objective
    """The model and its loss, not wrapped."""
    is_main: bool
    step: int = 0
    """Finished optimiser steps."""
    stop_reason: str | None = field(default=None)
    """Set to end training after this step; every process must set it alike."""


class Callback:
    """Base of callbacks; every method may be left as it is. All processes call it."""

    @classmethod
    def from_config(cls, config: ComponentConfig) -> Self:
        """Build from an entry of the recipe's ``train.callbacks``."""
        return cls()

    def on_start(self, context: CallbackContext) -> None:
        """Before the first step, or the first one after a resume."""

    def on_step(self, context: CallbackContext) -> None:
        """After an optimiser step; gradients are still there."""

    def on_validation(self, context: CallbackContext, metrics: Mapping[str, float]) -> None:
        """After a validation."""

    def on_end(self, context: CallbackContext) -> None:
        """After the last step, or the one at which training was stopped."""

    def state(self) -> dict[str, Any]:
        """What must be remembered over a resume: JSON values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
