"""The budget that every run of an ablation gets, and recipes that fit it. Imports no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from stkit.errors import UsageError
from stkit.recipe.model import Recipe
from stkit.recipe.sections.train import ReverseScheduledSampling, ScheduledSampling

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|steps?)")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_MOST_FOR_VALIDATION = 0.3
"""Of a budget in seconds: a recipe that would spend more is validated less often."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What each run may use for training, validation included; the scores on the test part come on top."""

    kind: Literal["steps", "seconds"]
    amount: float

    def __str__(self) -> str:
        return f"{self.amount:g}{'s' if self.kind == 'seconds' else 'steps'}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a cell trains on this machine."""

    step_seconds: float
    validation_seconds: float


@dataclass(frozen=True, slots=True)
class Length:
    """How long a cell is trained."""

    steps: int
    validations: int


def parse_budget(text: str) -> Budget:
    """Read ``300s``, ``5min``, ``1h`` or ``400steps``.

    Raises:
        UsageError: it is none of these, or nothing.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        unit = f"; {text.strip()}s or {text.strip()}steps?" if text.strip().isdigit() else ""
        raise UsageError(f"--budget {text}: expected seconds or steps, such as 300s, 5min, 1h or 400steps{unit}")
    number, unit = float(match[1]), match[2]
    if unit in _SECONDS:
        budget = Budget("seconds", number * _SECONDS[unit])
    else:
        if not number.is_integer():
            raise UsageError(f"--budget {text}: steps are whole")
        budget = Budget("steps", number)
    if budget.amount <= 0:
        raise UsageError(f"--budget {text}: too small for one evaluation: nothing can be trained with it")
    return budget


def length_of(recipe: Recipe, budget: Budget, pace: Pace | None, cell: str) -> Length:
    """How many steps a cell takes, and how often it is validated, within the budget.

    It is validated as often as its own recipe says, but for at most a third of a budget in seconds.

    Args:
        recipe: of the cell.
        budget: of every run.
        pace: of the cell on this machine; not needed for a budget in steps.
        cell: its name, for the message.

    Raises:
        UsageError: the budget is too small for one step and one validation.
    """
    wished = math.ceil(recipe.train.steps / recipe.train.evaluate_every_steps)
    if budget.kind == "steps":
        steps = int(budget.amount)
        return Length(steps, min(wished, steps))
    assert pace is not None, "a budget in seconds needs the pace"
    affordable = _MOST_FOR_VALIDATION * budget.amount / max(pace.validation_seconds, 1e-9)
    validations = max(1, min(wished, math.floor(affordable)))
    steps = math.floor((budget.amount - validations * pace.validation_seconds) / pace.step_seconds)
    if steps < 1:
        raise UsageError(
            f"--budget {budget}: too small for one evaluation of {cell}: a step takes {pace.step_seconds:.3g} s and a "
            f"validation {pace.validation_seconds:.3g} s on this machine"
        )
    return Length(steps, min(validations, steps))


def overrides(recipe: Recipe, length: Length) -> tuple[str, ...]:
    """What makes a recipe take so many steps: the lengths of sampling and schedule are scaled with it.

    Early stopping is off, so that every run uses its budget; the weights that are scored are those of the best
    validation all the same.
    """
    train = recipe.train
    scale = length.steps / train.steps
    found = {
        "steps": length.steps,
        "schedule.warmup_steps": round(train.schedule.warmup_steps * scale),
        "evaluate_every_steps": math.ceil(length.steps / length.validations),
        "checkpoint_every_steps": _scaled(train.checkpoint_every_steps, scale),
        "log_every_steps": _scaled(train.log_every_steps, scale),
        "early_stopping": "null",
    }
    match train.sampling:
        case ScheduledSampling() as sampling:
            found |= {
                "sampling.decrease_per_step": sampling.decrease_per_step / scale,
                "sampling.stop_step": round(sampling.stop_step * scale),
            }
        case ReverseScheduledSampling() as sampling:
            found |= {
                "sampling.first_step": round(sampling.first_step * scale),
                "sampling.second_step": round(sampling.second_step * scale),
                "sampling.decay_steps": sampling.decay_steps * scale,
            }
        case _:
            pass
    return tuple(f"train.{key}={value}" for key, value in found.items())


def _scaled(steps: int, scale: float) -> int:
    return max(1, round(steps * scale))
