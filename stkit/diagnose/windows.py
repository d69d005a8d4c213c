"""Which windows of a part are looked at, as a forecaster takes them.

Axes: ``T`` input steps, ``L`` lead times, ``C`` variables, ``K`` known inputs, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stkit.data.prepare import PreparedData
from stkit.data.windows import Sample, Windows
from stkit.errors import DataError, UsageError

Part = Literal["validation", "test"]


class Window(NamedTuple):
    """One window in model space, with a batch axis of 1."""

    context: Tensor
    """``1 T C+K H W``."""
    known: Tensor | None
    """``1 L K H W``."""
    base: Tensor | None
    """``1 L C H W``: the forecasts from which the model forecasts the departure."""
    valid: Tensor
    """``1 T C H W``: where the context has a value."""
    truth: Tensor
    """``1 L C H W``."""
    truth_valid: Tensor
    """``1 L C H W``: where it has a value."""

    def to(self, device: torch.device) -> Window:
        """On another device."""
        return Window(*(None if part is None else part.to(device) for part in self))  # type: ignore[arg-type]


def choose(windows: Windows, count: int) -> tuple[int, ...]:
    """Up to ``count`` windows, spread evenly over the part, the first and the last among them.

    Raises:
        UsageError: if none are asked for.
        DataError: if the part has none.
    """
    if count < 1:
        raise UsageError(f"--windows: expected at least 1 window, received {count}")
    if not len(windows):
        raise DataError(f"the {windows.part} part has no windows: there is nothing to look at")
    return tuple(int(i) for i in np.unique(np.linspace(0, len(windows) - 1, min(count, len(windows))).round()))


def part_of(data: PreparedData, part: Part) -> Windows:
    """The windows of a part."""
    return data.validation if part == "validation" else data.test


def take(sample: Sample, input_steps: int, state_channels: int | None = None) -> Window:
    """A sample cut into what is given and what is forecast; of its channels ``state_channels`` are given, null: all."""
    frames, valid = sample["frames"][None], sample["valid"][None]
    known, base = sample.get("known"), sample.get("base")
    context = frames[:, :input_steps, :state_channels]
    if known is not None:
        context = torch.cat([context, known[None, :input_steps]], dim=2)
    return Window(
        context=context,
        known=None if known is None else known[None, input_steps:],
        base=None if base is None else base[None, input_steps - 1 :],
        valid=valid[:, :input_steps, :state_channels],
        truth=frames[:, input_steps:],
        truth_valid=valid[:, input_steps:],
    )
