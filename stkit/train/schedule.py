"""The learning rate as a function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from stkit.recipe.sections.train import ScheduleConfig


def factor(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """Factor of the peak learning rate at optimiser step ``step`` (from 0) of ``steps``.

    With ``w`` warm-up steps it rises as ``(step + 1) / (w + 1)`` and is 1 at step ``w``. From there, with
    ``p = (step - w) / (steps - 1 - w)`` and ``e`` the final factor: ``linear`` is ``1 + (e - 1) p``, ``cosine`` is
    ``e + (1 - e) (1 + cos(pi p)) / 2``, ``constant`` is 1.
    """
    warmup = schedule.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    end = schedule.final_factor
    match schedule.name:
        case "linear":
            return 1.0 + (end - 1.0) * progress
        case "cosine":
            return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
        case "constant":
            return 1.0
