"""When training ends before its last step: early stopping, and a signal. Imports no torch."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from stkit.recipe.sections.train import EarlyStoppingConfig


@dataclass
class Best:
    """The best validation so far, and how many validations ago it was."""

    loss: float = math.inf
    step: int | None = None
    waited: int = 0
    """Validations since the last one that improved by more than ``min_delta``."""
    bar: float = math.inf
    """The loss that the next one must improve on for the waiting to begin anew."""

    def update(self, loss: float, step: int, config: EarlyStoppingConfig | None) -> bool:
        """Take in a validation; returns whether it is the best one."""
        if loss < self.bar - (config.min_delta if config else 0.0):
            self.bar, self.waited = loss, 0
        else:
            self.waited += 1
        if loss < self.loss:
            self.loss, self.step = loss, step
            return True
        return False

    def exhausted(self, config: EarlyStoppingConfig | None) -> bool:
        """Whether patience is at its end."""
        return config is not None and self.waited >= config.patience

    def state(self) -> dict[str, Any]:
        """As JSON; infinity is None."""
        return {name: None if value == math.inf else value for name, value in asdict(self).items()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Best:
        """The inverse of :meth:`state`."""
        return cls(
            loss=math.inf if state["loss"] is None else state["loss"],
            step=state["step"],
            waited=state["waited"],
            bar=math.inf if state["bar"] is None else state["bar"],
        )


class Interrupt:
    """Whether the user (Ctrl-C) or the scheduler (SIGTERM) has asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. The first signal asks to stop after this step, a second one stops at once."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within it SIGINT and SIGTERM do not end the process but are noted. Outside the main thread it does nothing."""
    interrupt = Interrupt()
    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, interrupt)
    except ValueError:  # only the main thread may set handlers
        pass
    try:
        yield interrupt
    finally:
        for kept, handler in before.items():
            signal.signal(kept, handler)
