"""The windows of a test part, batch by batch, in physical units, and what baselines say of them.

Axes: ``B`` windows, ``T`` input steps, ``L`` lead times, ``C`` variables, ``F`` variables of the forcing, ``H`` height,
``W`` width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stkit.data.calendar import Times
from stkit.data.prepare import PreparedData
from stkit.evaluate.baselines import Baseline


@dataclass(frozen=True)
class Batch:
    """Some windows of the test part, in physical units."""

    context: NDArray[np.float32]
    """``B T C H W``."""
    truth: NDArray[np.float32]
    """``B L C H W``."""
    context_times: Times | None
    """``B T``."""
    target_times: Times | None
    """``B L``."""
    forcing: NDArray[np.float32] | None = None
    """``B T+L F H W``: of the context and of the frames to forecast."""


def rounds(windows: int, size: int, rank: int, world: int) -> Iterator[tuple[int, range]]:
    """The first window of each round, and this process's share of the round: at most ``size`` windows, none twice."""
    for first in range(0, windows, size * world):
        start = min(first + rank * size, windows)
        yield first, range(start, min(start + size, windows))


def windows_batch(data: PreparedData, windows: range) -> Batch:
    """Some windows of the test part."""
    raw = [data.test.raw(index) for index in windows]
    fields = torch.stack([window.fields for window in raw]).numpy()
    times = np.stack([window.times for window in raw if window.times is not None]) if raw[0].times is not None else None
    known = data.config.input_steps
    return Batch(
        context=fields[:, :known],
        truth=fields[:, known:],
        context_times=None if times is None else times[:, :known],
        target_times=None if times is None else times[:, known:],
        forcing=None
        if raw[0].forcing is None
        else torch.stack([window.forcing for window in raw if window.forcing is not None]).numpy(),
    )


def baseline_forecast(baseline: Baseline, batch: Batch) -> NDArray[np.float32]:
    """What a baseline says of some windows: ``B L C H W`` in physical units."""
    targets = batch.truth.shape[1] if batch.target_times is None else batch.target_times
    said = baseline.forecast(torch.from_numpy(batch.context), batch.context_times, targets)
    return np.asarray(said.numpy())
