"""Exponential moving average of the weights."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import nn

_WARM_UP = 2 / 3
"""Power of the step with which the decay rises, as in ``timm.utils.ModelEmaV3``."""


class AveragedWeights:
    """A copy of a model whose weights follow those of the model; integers are copied.

    ``timm.utils.ModelEmaV3`` with its warm-up does the same; importing timm alone takes longer than a training step.

    Args:
        model: what is averaged.
        decay: the most that one step keeps of the average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model).eval()
        self.decay = decay

    def decay_at(self, step: int) -> float:
        """What step number ``step``, from 1, keeps of the average: ``1 - step**(-2/3)``, up to ``decay``.

        Early on it is small, so that the average of a short run does not remember the random start.
        """
        return min(1 - math.pow(max(step, 1), -_WARM_UP), self.decay)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the weights that ``model`` has after ``step`` steps."""
        averages, values = [], []
        for average, value in zip(self.module.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, weight=1 - self.decay_at(step))


def build_ema(decay: float | None, model: nn.Module) -> AveragedWeights | None:
    """The average of ``model``'s weights with this decay; None for no decay."""
    return None if decay is None else AveragedWeights(model, decay)
