"""Exponential moving average of the weights (``timm.utils.ModelEmaV3``)."""

from __future__ import annotations

from typing import Protocol, cast

from torch import nn


class AveragedWeights(Protocol):
    """What training uses of timm's class."""

    module: nn.Module
    """The copy of the model that holds the average."""

    def update(self, model: nn.Module, step: int | None = None) -> None:
        """Move the average towards the model's weights."""


def build_ema(decay: float | None, model: nn.Module) -> AveragedWeights | None:
    """The average of ``model``'s weights with this decay; None for no decay.

    Early on the decay is smaller (timm's warm-up, ``1 - (1 + step)**(-2/3)`` up to ``decay``), so that the average of
    a short run does not remember the random start. It is a function of the step, which is given to ``update``.
    """
    if decay is None:
        return None
    from timm.utils import ModelEmaV3  # type: ignore[attr-defined]

    return cast(AveragedWeights, ModelEmaV3(model, decay=decay, use_warmup=True))
