"""The released code's start of weights."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from stkit.cells import GateBlock


def start_within(limit: float | None, blocks: Iterable[GateBlock]) -> None:
    """Kernels uniform within plus and minus ``limit``, biases of the sources zero; nothing if ``limit`` is None."""
    if limit is None:
        return
    for block in blocks:
        for kernel in block.kernels.values():
            nn.init.uniform_(kernel, -limit, limit)
        for bias in block.biases.values():
            nn.init.zeros_(bias)
