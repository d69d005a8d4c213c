"""How far a device is behind the program that commands it.

A processor is never behind. A GPU works off what it was given while the program goes on; how much it may have before it
is bounded, because each step that waits there holds its batch.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import torch

MOST_STEPS = 2
"""Steps that a device may have before it: one that it computes, one so that it has something when that is done."""


class Behind(Protocol):
    """What a device has still to do."""

    def given(self) -> None:
        """The device was given a step."""

    def busy(self) -> bool:
        """Whether it has something to do."""

    def keep_up(self) -> None:
        """Wait until it has less than :data:`MOST_STEPS` steps before it."""


class Never:
    """A device that has done a step when the program has."""

    def given(self) -> None:
        """See :class:`Behind`."""

    def busy(self) -> bool:
        """See :class:`Behind`."""
        return False

    def keep_up(self) -> None:
        """See :class:`Behind`."""


class Gpu:
    """Steps that an NVIDIA GPU has before it, by an event at the end of each."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ends: deque[torch.cuda.Event] = deque()

    def given(self) -> None:
        """See :class:`Behind`."""
        end = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # a core that waits is free for others
        end.record(torch.cuda.current_stream(self._device))
        self._ends.append(end)

    def busy(self) -> bool:
        """See :class:`Behind`."""
        while self._ends and self._ends[0].query():  # type: ignore[no-untyped-call]
            self._ends.popleft()
        return bool(self._ends)

    def keep_up(self) -> None:
        """See :class:`Behind`."""
        while len(self._ends) >= MOST_STEPS:
            self._ends.popleft().synchronize()


def behind(device: torch.device) -> Behind:
    """For a device that a model is trained on."""
    return Gpu(device) if device.type == "cuda" else Never()
