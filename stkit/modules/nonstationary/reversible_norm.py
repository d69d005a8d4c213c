"""Each sequence by its own mean and deviation, and back.

Reversible Instance Normalization for Accurate Time-Series Forecasting against Distribution Shift. T. Kim, J. Kim,
Y. Tae, C. Park, J.-H. Choi, J. Choo, ICLR 2022, section 3.1. Reference code: https://github.com/ts-kim/RevIN (MIT);
written from the equations.

Deliberate deviations: a series of the paper is a whole variable of a field here (``level="channel"``), or each of its
cells for the mean (``level="cell"``). Statistics are those of the frames shown so far and are kept in the memory, so
that no forecast inside the context sees its own frame, and a stream tells what the whole sequence tells; after the
context they are the paper's. A deviation is bounded from below and nothing is added to it, and the learned factor is an
exponential, so that there is always a way back.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stkit.cells.base import Tensors
from stkit.modules.nonstationary.config import ReversibleNormConfig
from stkit.stacks.nonstationary import Frame, NonStationary, NonStationarySite, Valid, present


class ReversibleNorm(NonStationary):
    """``z = gain (x - mean) / deviation + offset``, and back ``x = mean + deviation (z - offset) / gain``.

    Mean and deviation are those of all values shown so far, of each sequence and variable; ``gain`` and ``offset`` are
    learned and start at 1 and 0. A network that says zero says the mean. If all frames that are shown are ``a x + b``
    with ``a > 0`` in place of ``x``, then so are the forecasts, as long as the deviation is not too small.

    Remembers ``count``, ``mean`` and ``squares`` of each variable or cell (the sum of squared deviations from the mean,
    updated as in T. F. Chan, G. H. Golub, R. J. LeVeque 1979), and what follows from them: ``level`` and ``scale``. A
    missing value is at the level.

    Args:
        channels: of the frames.
        level: the mean of a whole variable over cells and time (``channel``), or of each ``cell`` over time; the
            deviation about it is one number for each variable.
        affine: learn ``gain`` and ``offset``.
        smallest_deviation: what is divided by at least.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        *,
        level: Literal["channel", "cell"] = "channel",
        affine: bool = True,
        smallest_deviation: float = 1e-3,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.by_cell = level == "cell"
        self.smallest_deviation = smallest_deviation
        self.affine = _Affine(channels, device, dtype) if affine else _Plain()

    @classmethod
    def from_config(cls, config: ReversibleNormConfig, site: NonStationarySite) -> ReversibleNorm:
        """As a recipe says it."""
        options = config.model_dump(exclude={"name"})
        return cls(site.channels, **options, device=site.device, dtype=site.dtype)

    def initial_memory(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Nothing was seen: level 0, scale 1. What is summed up has at least 32 bits."""
        dtype = dtype or torch.get_default_dtype()
        precise = torch.promote_types(dtype, torch.float32)
        shape = (batch, self.channels, height, width) if self.by_cell else (batch, self.channels, 1, 1)
        memory = {name: torch.zeros(shape, device=device, dtype=precise) for name in ("count", "mean", "squares")}
        memory["level"] = torch.zeros(shape, device=device, dtype=dtype)
        memory["scale"] = torch.ones(batch, self.channels, 1, 1, device=device, dtype=dtype)
        return memory

    def encode(self, frame: Frame, memory: Tensors, valid: Valid | None = None) -> tuple[Tensor, Tensors]:
        """Normalised by the statistics of all frames up to this one."""
        there = present(frame, valid)
        memory = self._updated(frame, there, memory)
        z = torch.where(there, (frame - memory["level"]) / memory["scale"], 0.0)
        return self.affine(z), memory

    def feed(self, forecast: Frame, memory: Tensors) -> tuple[Tensor, Tensors]:
        """Normalised by the statistics as they are."""
        return self.affine((forecast - memory["level"]) / memory["scale"]), memory

    def decode(self, z: Frame, memory: Tensors) -> Tensor:
        """``mean + deviation (z - offset) / gain``."""
        return memory["level"] + memory["scale"] * self.affine.inverse(z)

    def _updated(self, frame: Tensor, there: Tensor, memory: Tensors) -> Tensors:
        count, mean, squares = (memory[name] for name in ("count", "mean", "squares"))
        x = torch.where(there, frame, 0.0).to(mean.dtype)
        here = there.to(mean.dtype)
        if self.by_cell:
            more, its_mean, its_squares = here, x, torch.zeros_like(x)
        else:
            more = here.sum((-2, -1), keepdim=True)
            its_mean = x.sum((-2, -1), keepdim=True) / more.clamp(min=1)
            its_squares = (here * (x - its_mean).square()).sum((-2, -1), keepdim=True)
        total = count + more
        share = more / total.clamp(min=1)
        step = its_mean - mean
        mean = mean + step * share
        squares = squares + its_squares + step.square() * count * share

        values = total.sum((-2, -1), keepdim=True)
        # A cell that has had no value is at the mean of the others.
        others = (total * mean).sum((-2, -1), keepdim=True) / values.clamp(min=1)
        variance = squares.sum((-2, -1), keepdim=True) / values.clamp(min=1)
        scale = variance.clamp(min=self.smallest_deviation**2).sqrt()
        return {
            "count": total,
            "mean": mean,
            "squares": squares,
            "level": torch.where(total > 0, mean, others).to(memory["level"].dtype),
            "scale": torch.where(values > 0, scale, 1.0).to(memory["scale"].dtype),
        }


class _Plain(nn.Module):
    """No learned numbers."""

    def forward(self, z: Tensor) -> Tensor:
        return z

    def inverse(self, z: Tensor) -> Tensor:
        return z


class _Affine(_Plain):
    """A factor and a shift for each channel."""

    def __init__(self, channels: int, device: torch.device | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(channels, 1, 1, device=device, dtype=dtype))
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1, device=device, dtype=dtype))

    def forward(self, z: Tensor) -> Tensor:
        return z * self.log_gain.exp() + self.offset

    def inverse(self, z: Tensor) -> Tensor:
        return (z - self.offset) / self.log_gain.exp()
