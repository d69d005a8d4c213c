"""A trend and a season, fitted to the frames seen so far and carried on; the network works on what is left.

A trend, waves and a residual by least squares: P. J. Brockwell, R. A. Davis, Time Series: Theory and Methods, 1991,
section 1.4. Written from the equations.

Axes: ``B`` batch, ``N`` frames of the window, ``K`` terms of the fit, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from stkit.cells.base import Tensors
from stkit.modules.nonstationary.config import TrendSeasonConfig
from stkit.stacks.nonstationary import Frame, NonStationary, NonStationarySite, Valid, present

_RIDGE = 16
"""In roundings of the numbers, a share of each term's squares: gives a fit to values at unlucky times a solution."""


class TrendSeason(NonStationary):
    """For each cell, with ``n`` counted in steps from the newest frame that was shown, the waves ``j = 1 .. J`` and the
    season ``s``::

        fit(n) = a + b n + sum_j (p_j cos(2 pi j n / s) + q_j sin(2 pi j n / s))     least squares over the window
        level_t = fit of the frames before t, carried on to t;   z_t = x_t - level_t

    A network that says zero carries trend and season on. What is left is counted from the fit of the frames before, not
    of all frames: so ``z`` is what the network has to forecast, and no frame is part of its own level.

    A cell is fitted once it has as many values in the window as there are terms, and one at each step of the season;
    until then the network sees zero, and the level is the latest value. So a trend or season that is added to all
    frames is added to the forecasts and changes nothing that the network sees. Nothing is fitted to forecasts; the last
    fit carries on over them.

    Remembers the window's ``frames`` (``B N C H W``, the newest one last) and where they are ``valid``, the
    ``coefficients`` (``B K C H W``), where they are ``fitted`` (``B C H W``), and the steps since then, ``ahead``.

    Args:
        channels: of the frames.
        trend: a line, not a constant alone.
        season: ``s``; None: none.
        waves: ``J``.
        window: ``N``.
    """

    def __init__(
        self,
        channels: int,
        *,
        trend: bool = True,
        season: int | None = None,
        waves: int = 0,
        window: int = 12,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.trend, self.season, self.waves, self.window = trend, season, waves, window
        self.terms = self.terms_at(torch.zeros(0, device="meta")).shape[-1]

    @classmethod
    def from_config(cls, config: TrendSeasonConfig, site: NonStationarySite) -> TrendSeason:
        """As a recipe says it."""
        return cls(
            site.channels,
            trend=config.trend,
            season=config.season,
            waves=config.waves,
            window=config.frames,
        )

    def terms_at(self, times: Float[Tensor, " *n"]) -> Float[Tensor, "*n K"]:
        """The ``K`` terms of the fit at times in steps from the newest frame."""
        terms = [torch.ones_like(times)]
        if self.trend:
            terms.append(times / math.sqrt(self.window))  # well conditioned for few values and for a full window
        for wave in range(1, self.waves + 1):
            assert self.season is not None
            phase = 2 * math.pi * wave / self.season * times
            terms.append(torch.cos(phase))
            if 2 * wave != self.season:  # the sine of the shortest possible wave is zero at every step
                terms.append(torch.sin(phase))
        return torch.stack(terms, dim=-1)

    def initial_memory(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Nothing was seen."""
        shape = (self.channels, height, width)
        return {
            "frames": torch.zeros(batch, self.window, *shape, device=device, dtype=dtype),
            "valid": torch.zeros(batch, self.window, *shape, device=device, dtype=torch.bool),
            "coefficients": torch.zeros(batch, self.terms, *shape, device=device, dtype=dtype),
            "fitted": torch.zeros(batch, *shape, device=device, dtype=torch.bool),
            "ahead": torch.zeros(batch, device=device, dtype=torch.int32),
        }

    def encode(self, frame: Frame, memory: Tensors, valid: Valid | None = None) -> tuple[Tensor, Tensors]:
        """``z_t``; zero where there is no value or no fit yet."""
        there, level = present(frame, valid), self.level(memory)
        z = torch.where(there & memory["fitted"], frame - level, 0.0)
        frames = _pushed(memory["frames"], torch.where(there, frame, 0.0))
        kept = _pushed(memory["valid"], there)
        with _full_precision(frame.device):
            coefficients, fitted = self._fit(frames, kept, torch.where(there, frame, level))
        return z, {
            "frames": frames,
            "valid": kept,
            "coefficients": coefficients,
            "fitted": fitted,
            "ahead": torch.zeros_like(memory["ahead"]),
        }

    def feed(self, forecast: Frame, memory: Tensors) -> tuple[Tensor, Tensors]:
        """``z_t`` of the forecast; the fit stays as it is and moves on."""
        return forecast - self.level(memory), {
            **memory,
            "frames": _pushed(memory["frames"], torch.zeros_like(forecast)),
            "valid": _pushed(memory["valid"], torch.zeros_like(memory["fitted"])),
            "ahead": memory["ahead"] + 1,
        }

    def decode(self, z: Frame, memory: Tensors) -> Tensor:
        """``x_{t+1} = level_{t+1} + z_{t+1}``."""
        return self.level(memory) + z

    def level(self, memory: Tensors) -> Float[Tensor, "B C H W"]:
        """``level_{t+1}``: trend and season carried on."""
        coefficients = memory["coefficients"]
        precise = torch.promote_types(coefficients.dtype, torch.float32)
        terms = self.terms_at((memory["ahead"] + 1).to(precise)).to(coefficients.dtype)
        return (terms[:, :, None, None, None] * coefficients).sum(1)

    def _fit(self, frames: Tensor, valid: Tensor, latest: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients ``B K C H W`` and where they are a fit; elsewhere they are the constant ``latest``."""
        precise = torch.promote_types(frames.dtype, torch.float32)
        basis = self.terms_at(torch.arange(1 - self.window, 1, device=frames.device, dtype=precise))  # N K
        products = (basis[:, :, None] * basis[:, None, :]).flatten(1)  # N K*K
        weight = valid.movedim(1, -1).to(precise)  # B C H W N
        gram = (weight @ products).reshape(*weight.shape[:-1], self.terms, self.terms)
        # Fitted to what is above the latest value, so that a large level costs no digits.
        right = (weight * (frames - latest[:, None]).movedim(1, -1)) @ basis
        fitted = (valid.sum(1) >= self.terms) & self._whole_season(valid)
        one = torch.eye(self.terms, device=frames.device, dtype=precise)
        gram = torch.where(fitted[..., None, None], gram * (1 + _RIDGE * torch.finfo(precise).eps * one), one)
        solution = torch.linalg.solve_ex(gram, right[..., None])[0][..., 0].movedim(-1, 1).to(frames.dtype)
        solution = torch.where(fitted[:, None], solution, 0.0)
        return torch.cat([latest[:, None] + solution[:, :1], solution[:, 1:]], dim=1), fitted

    def _whole_season(self, valid: Tensor) -> Tensor:
        """``B N C H W -> B C H W``: where there is a value at each step of the season, which determines its waves."""
        season = self.season or 1
        firsts = range(min(season, self.window))
        return torch.stack([valid[:, first::season].any(1) for first in firsts]).all(0)


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision would fit with 8 bits."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def _pushed(frames: Tensor, newest: Tensor) -> Tensor:
    return torch.cat([frames[:, 1:], newest[:, None]], dim=1)
