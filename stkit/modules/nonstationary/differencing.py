"""Differences of the frames: from step to step, from season to season.

Time Series Analysis: Forecasting and Control. G. E. P. Box, G. M. Jenkins, 1970, chapters 4 and 9. Written from the
equations.

Axes: ``B`` batch, ``N`` remembered frames, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from stkit.cells.base import Tensors
from stkit.modules.nonstationary.config import DifferencingConfig
from stkit.stacks.nonstationary import Frame, NonStationary, NonStationarySite, Valid, present


class Differencing(NonStationary):
    """With the backshift ``(B x)_t = x_{t-1}``, the order ``d`` and the season ``s``::

        z_t = (1 - B)^d (1 - B^s) x_t = x_t - level_t       level_t: a weighted sum of x_{t-1} ... x_{t-d-s}

    A network that says zero says the level: the last frame (``d = 1``), the line through the last two (``d = 2``), the
    frame one season ago (``d = 0`` with ``s``).

    A missing value is taken to be the level that was expected. Before its first value a cell stood still; until a
    difference reaches no further back than that value the network sees zero, and the level is the latest value.

    Remembers ``frames`` (``B N C H W``, newest last, with ``N = d + s``) and ``seen`` (``B C H W``): how many of
    them came since the cell's first value.

    Args:
        order: ``d``.
        season: ``s``; None: no seasonal difference.
        channels: of the frames.

    Raises:
        ValueError: if nothing is differenced.
    """

    def __init__(self, channels: int, *, order: int = 1, season: int | None = None) -> None:
        super().__init__()
        polynomial = [1]
        for lag in [1] * order + ([] if season is None else [season]):
            polynomial = _times_difference(polynomial, lag)
        if len(polynomial) == 1:
            raise ValueError("differencing of order 0 without a season changes nothing")
        self.channels = channels
        self.weights = tuple(-factor for factor in polynomial[1:])

    @classmethod
    def from_config(cls, config: DifferencingConfig, site: NonStationarySite) -> Differencing:
        """As a recipe says it."""
        return cls(site.channels, order=config.order, season=config.season)

    @property
    def reach(self) -> int:
        """Frames back that a difference looks: ``N``."""
        return len(self.weights)

    def initial_memory(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Nothing was seen."""
        frames = torch.zeros(batch, self.reach, self.channels, height, width, device=device, dtype=dtype)
        return {"frames": frames, "seen": torch.zeros(*frames[:, 0].shape, device=device, dtype=torch.int32)}

    def encode(self, frame: Frame, memory: Tensors, valid: Valid | None = None) -> tuple[Tensor, Tensors]:
        """``z_t``; zero where there is no value or no difference yet."""
        frames, seen, there, level = memory["frames"], memory["seen"], present(frame, valid), self.level(memory)
        z = torch.where(there & (seen >= self.reach), frame - level, 0.0)
        first = there & (seen == 0)
        frames = _pushed(frames, torch.where(there, frame, level))
        frames = torch.where(first[:, None], frame[:, None], frames)
        return z, {"frames": frames, "seen": self._counted(seen, there | (seen > 0))}

    def feed(self, forecast: Frame, memory: Tensors) -> tuple[Tensor, Tensors]:
        """``z_t`` of the forecast, from which the next differences are counted. Cells never seen stay at zero."""
        frames, seen = memory["frames"], memory["seen"]
        begun = seen > 0
        frames = _pushed(frames, torch.where(begun, forecast, 0.0))
        return forecast - self.level(memory), {"frames": frames, "seen": self._counted(seen, begun)}

    def decode(self, z: Frame, memory: Tensors) -> Tensor:
        """``x_{t+1} = level_{t+1} + z_{t+1}``."""
        return self.level(memory) + z

    def level(self, memory: Tensors) -> Float[Tensor, "B C H W"]:
        """``level_{t+1}``: what a difference of zero makes of the next frame."""
        frames = memory["frames"]
        level = torch.zeros_like(frames[:, -1])
        for lag, weight in enumerate(self.weights, start=1):
            if weight:
                level = level + weight * frames[:, -lag]
        return torch.where(memory["seen"] >= self.reach, level, frames[:, -1])

    def _counted(self, seen: Tensor, goes_on: Tensor) -> Tensor:
        return torch.where(goes_on, (seen + 1).clamp(max=self.reach), seen)

    def extra_repr(self) -> str:
        """The weights of the level, for ``print(model)``."""
        terms = [f"{weight:+d} x[t-{lag}]" for lag, weight in enumerate(self.weights, start=1) if weight]
        return "level = " + " ".join(terms)


def _times_difference(polynomial: list[int], lag: int) -> list[int]:
    """Coefficients of ``p(B) (1 - B^lag)`` from those of ``p(B)``, the constant first."""
    longer = polynomial + [0] * lag
    for power, factor in enumerate(polynomial):
        longer[power + lag] -= factor
    return longer


def _pushed(frames: Tensor, newest: Tensor) -> Tensor:
    return torch.cat([frames[:, 1:], newest[:, None]], dim=1)
