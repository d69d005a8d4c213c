"""Whether a layer's two memories learn the same thing: the cosine of their increments.

PredRNN-V2 (Wang et al. 2021, arXiv:2103.09504) adds ``|cos(A * delta_c, A * delta_m)|`` to the loss, with a trained 1x1
convolution ``A``. Here ``A`` is left out, so that models that were trained without that loss can be compared.

Axes: ``B`` batch, ``C`` channels, then the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.diagnose.recorder import Step


@dataclass(frozen=True)
class Overlap:
    """Of one layer: ``|cos|`` by step, mean over channels and windows."""

    layer: int
    cosine: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the steps."""
        return sum(self.cosine) / len(self.cosine)


def overlap(delta_c: Tensor, delta_m: Tensor) -> float:
    """Mean over batch and channels of ``|cos|``, taken over the grid as in PredRNN-V2."""
    c, m = (F.normalize(part.to(torch.float64).flatten(2), dim=2) for part in (delta_c, delta_m))
    return float((c * m).sum(dim=2).abs().mean())


class OverlapCollector:
    """Takes the steps of window after window."""

    def __init__(self) -> None:
        self._found: dict[int, list[list[float]]] = {}

    def add(self, steps: Sequence[Step]) -> None:
        """Take one window."""
        found: dict[int, list[float]] = {}
        for step in steps:
            for layer, aux in enumerate(step.aux, start=1):
                if "delta_c" in aux and "delta_m" in aux:
                    found.setdefault(layer, []).append(overlap(aux["delta_c"], aux["delta_m"]))
        for layer, cosine in found.items():
            self._found.setdefault(layer, []).append(cosine)

    def result(self) -> list[Overlap]:
        """One entry for each layer that hands out its increments."""
        return [
            Overlap(layer, tuple(sum(column) / len(column) for column in zip(*windows, strict=True)))
            for layer, windows in sorted(self._found.items())
        ]
