"""The nowcasts of pysteps as baselines: optical-flow extrapolation and S-PROG. They come with the extra ``radar``.

Pulkkinen et al. (2019), Pysteps: an open-source Python library for probabilistic precipitation nowcasting (v1.0),
Geoscientific Model Development 12, doi:10.5194/gmd-12-4185-2019. S-PROG: Seed (2003), Journal of Applied Meteorology
42.

Axes: ``B`` any leading axes, ``T`` context, ``N`` lead times, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stkit.data.box import Box
from stkit.data.calendar import Times
from stkit.errors import UsageError
from stkit.evaluate.baselines import Baseline, Context, Forecast, count_of, latest

_LEAST_RAIN = 0.1
"""What counts as rain, in the field's unit (mm/h)."""
_DRY = -15.0
"""Decibels of no rain, as pysteps has them."""


class _Pysteps(Baseline):
    """A nowcast of non-negative fields such as rain rates, in decibels; where it says nothing the last value stays."""

    least_frames = 2

    def __init__(self) -> None:
        pysteps()

    def forecast(
        self, context: Context, context_times: Times | None, target_times: Times | int, box: Box | None = None
    ) -> Forecast:
        """See :meth:`Baseline.forecast`."""
        count = count_of(target_times)
        last, _ = latest(context)
        frames = context.transpose(-3, -4).float().cpu().numpy()
        *lead, variables, steps, height, width = frames.shape
        stays = last.float().cpu().numpy().reshape(-1, height, width)
        said = np.repeat(stays[:, None], count, axis=1)
        for place, fields in enumerate(frames.reshape(-1, steps, height, width)):
            # Without rain in every frame there is nothing that moves.
            if steps >= self.least_frames and (np.nanmax(fields, axis=(1, 2)) >= _LEAST_RAIN).all():
                nowcast = self._nowcast(np.nan_to_num(fields), count)
                said[place] = np.where(np.isfinite(nowcast) & np.isfinite(stays[place]), nowcast, said[place])
        found = torch.from_numpy(said).to(context).reshape(*lead, variables, count, height, width)
        return found.transpose(-3, -4)

    @abstractmethod
    def _nowcast(self, fields: NDArray[np.float32], count: int) -> NDArray[np.floating]: ...


class PystepsExtrapolation(_Pysteps):
    """Lucas-Kanade optical flow and semi-Lagrangian extrapolation of pysteps."""

    name = "pysteps_extrapolation"

    @property
    def about(self) -> str:
        """See :attr:`Baseline.about`."""
        return "pysteps: optical flow (Lucas-Kanade), semi-Lagrangian extrapolation"

    def _nowcast(self, fields: NDArray[np.float32], count: int) -> NDArray[np.floating]:
        from pysteps import nowcasts

        nowcast: NDArray[np.floating] = nowcasts.get_method("extrapolation")(fields[-1], _flow(fields), count)
        return nowcast


class Sprog(_Pysteps):
    """S-PROG of pysteps: each scale is damped as fast as it forgets, so that it is as smooth as it must be."""

    name = "sprog"
    least_frames = 3

    @property
    def about(self) -> str:
        """See :attr:`Baseline.about`."""
        return "pysteps S-PROG: extrapolation in which small scales fade as fast as they forget"

    def _nowcast(self, fields: NDArray[np.float32], count: int) -> NDArray[np.floating]:
        from pysteps import nowcasts

        method = nowcasts.get_method("sprog")
        threshold = 10 * np.log10(_LEAST_RAIN)
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            said = method(
                _decibels(fields[-3:]), _flow(fields), count, precip_thr=threshold, n_cascade_levels=6, ar_order=2
            )
        rain: NDArray[np.floating] = np.where(said >= threshold, 10 ** (said / 10), np.where(np.isnan(said), np.nan, 0))
        return rain


def pysteps() -> Any:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    try:
        # It prints where its settings are when it is imported.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            import pysteps as library
    except ImportError as error:
        raise UsageError(
            "the baselines pysteps_extrapolation and sprog need pysteps: pip install 'stkit-torch[radar]' (it needs a "
            "C compiler); the baseline extrapolation needs nothing"
        ) from error
    return library


def _decibels(fields: NDArray[np.float32]) -> NDArray[np.floating]:
    wet = fields >= _LEAST_RAIN
    return np.where(wet, 10 * np.log10(np.where(wet, fields, 1.0)), _DRY)


def _flow(fields: NDArray[np.float32]) -> NDArray[np.floating]:
    from pysteps import motion

    flow: NDArray[np.floating] = motion.get_method("LK")(_decibels(fields[-3:]), verbose=False)
    return flow
