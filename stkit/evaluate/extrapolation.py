"""Extrapolation: the last frame, carried on by the motion of the context. The forecast that a nowcast must beat.

Axes: ``B`` any leading axes, ``T`` context, ``N`` lead times, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from stkit.data.box import Box
from stkit.data.calendar import Times
from stkit.evaluate.baselines import Baseline, Context, Forecast, count_of, latest
from stkit.evaluate.motion import advect, motion

_FRAMES = 4
"""Last frames of the context from which the motion is found."""


class Extrapolation(Baseline):
    """Each variable moves on as it moved over the last frames of the context, and does not change on the way.

    Where the field comes from outside the grid, or from where there was no value, the cell's last value stays.
    """

    name = "extrapolation"
    looks_around = True

    @property
    def about(self) -> str:
        """See :attr:`Baseline.about`."""
        return "the last frame moves on with the motion of the context (Lucas-Kanade, semi-Lagrangian)"

    def forecast(
        self, context: Context, context_times: Times | None, target_times: Times | int, box: Box | None = None
    ) -> Forecast:
        """See :meth:`Baseline.forecast`."""
        count = count_of(target_times)
        last, _ = latest(context)
        frames = context[..., -_FRAMES:, :, :, :].float().transpose(-3, -4)
        *lead, variables, steps, height, width = frames.shape
        flat = frames.reshape(-1, steps, height, width)
        stays = last.reshape(-1, height, width)
        if steps == 1 or min(height, width) < 2:
            said = stays[:, None].expand(-1, count, -1, -1)
        else:
            valid = flat.isfinite()
            moved = advect(stays.float(), motion(evened(flat), valid), count)
            said = torch.where(moved.isfinite() & stays[:, None].isfinite(), moved, stays[:, None]).to(context.dtype)
        return said.reshape(*lead, variables, count, height, width).transpose(-3, -4)


def evened(frames: Float[Tensor, "N T H W"]) -> Float[Tensor, "N T H W"]:
    """The same on a scale on which weak structures count beside strong ones, as in rain; NaN stays."""
    known = torch.nan_to_num(frames, nan=torch.inf)
    lowest = known.amin((-1, -2, -3), keepdim=True)
    above = torch.where(frames.isfinite(), frames - lowest, 0.0)
    size = above.std((-1, -2, -3), keepdim=True)
    return torch.where(frames.isfinite(), torch.asinh(above / size.clamp(min=1e-12)), torch.nan)
