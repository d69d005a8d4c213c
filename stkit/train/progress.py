"""How far training is: a live bar where stderr is a terminal, plain lines where it is not. Imports no torch."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from stkit.run.logs import FILE_ONLY

LOG = logging.getLogger("stkit.train.progress")


class ProgressDisplay:
    """Shows loss, steps per second and the time left.

    Args:
        first: steps that are done already.
        total: steps in all.
        shown: False on all processes but the main one.
    """

    def __init__(self, first: int, total: int, *, shown: bool = True, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._total = total
        self._first = first
        self._shown = shown
        self._start = time.monotonic()
        self._live: Progress | None = None
        self._task = TaskID(0)
        if shown and self._console.is_terminal:
            self._live = Progress(
                BarColumn(bar_width=16),  # narrow, so that a line of 80 columns holds everything
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}"),
                TextColumn("{task.fields[rate]} steps/s"),
                TimeRemainingColumn(),
                TextColumn("left"),
                TextColumn("{task.fields[note]}", style="dim"),
                console=self._console,
            )
            self._task = self._live.add_task("", total=total, completed=first, loss="-", rate="-", note="")

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def live(self) -> bool:
        """Whether a bar is shown."""
        return self._live is not None

    @property
    def seconds(self) -> float:
        """Since the start of this process's training."""
        return time.monotonic() - self._start

    def advance(self, step: int, loss: float) -> None:
        """Note that ``step`` steps are done, with this loss lately."""
        if self._live is not None:
            self._live.update(self._task, completed=step, loss=f"{loss:.4g}", rate=f"{self.rate(step):.3g}")

    def logged(self, step: int, loss: float, learning_rate: float, waiting: float) -> None:
        """A line for the log; on a terminal the bar shows the same, so the line goes to the log file only.

        Args:
            step: steps that are done.
            loss: lately.
            learning_rate: of the step.
            waiting: share of the time in steps that was spent waiting for batches.
        """
        if self._shown:
            rate = self.rate(step)
            left = (self._total - step) / rate if rate else float("nan")
            self._note(
                f"step {step}/{self._total}  loss {loss:.5g}  lr {learning_rate:.3g}  "
                f"{rate:.3g} steps/s  {waiting:.1%} waiting for data  {duration(left)} left"
            )

    def validated(self, step: int, loss: float, best: bool) -> None:
        """Tell the result of a validation."""
        if self._shown:
            note = f"validation {loss:.4g}"
            if self._live is not None:
                self._live.update(self._task, note=note)
            self._note(f"step {step}/{self._total}  {note}" + (" (best)" if best else ""))

    def _note(self, line: str) -> None:
        LOG.info(line, extra={FILE_ONLY: self.live})

    def rate(self, step: int) -> float:
        """Steps per second since the start of this process."""
        return (step - self._first) / self.seconds if self.seconds > 0 else 0.0


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``; ``?`` for NaN."""
    if seconds != seconds:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
