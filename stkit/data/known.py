"""Inputs that are known for the future too and are in no file: the season, the mask, the latitude.

Axes: ``B`` any leading axes, ``T`` time, ``K`` known channels, ``H`` rows, ``W`` columns; ``h w`` of the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from stkit.data.box import Box, crop
from stkit.data.calendar import Times, year_phase
from stkit.errors import DataError

Known = Literal["calendar", "mask", "latitude"]

_CHANNELS: dict[Known, tuple[str, ...]] = {
    "calendar": ("season_sin", "season_cos"),
    "mask": ("mask",),
    "latitude": ("latitude_sin",),
}


def known_names(extra_inputs: Sequence[Known]) -> tuple[str, ...]:
    """The known channels, in order."""
    return tuple(name for extra in extra_inputs for name in _CHANNELS[extra])


def check_known(extra_inputs: Sequence[Known], latitude: NDArray[np.float64] | None, times: Times | None) -> None:
    """Refuse what the fields cannot give.

    Raises:
        DataError: if the calendar is asked of fields without times, or the latitude of rows that have none.
    """
    if "calendar" in extra_inputs and times is None:
        raise DataError("extra_inputs: 'calendar' needs times, but the fields have none")
    if "latitude" in extra_inputs and latitude is None:
        raise DataError("extra_inputs: 'latitude' needs rows with a latitude (units degrees_north), but they have none")


def known_inputs(
    extra_inputs: Sequence[Known],
    valid: Bool[Tensor, "C H W"],
    latitude: NDArray[np.float64] | None,
    times: Times | None,
    count: int,
    box: Box | None = None,
) -> Float[Tensor, "*B T K h w"]:
    """Sine and cosine of the season (the same in every cell), 1 on cells where any variable counts, sine of latitude.

    Args:
        extra_inputs: which, in this order.
        valid: where each variable counts.
        latitude: ``H``, degrees north of each row; None only where it is not asked for.
        times: ``*B T``; None only where no calendar is asked for.
        count: ``T``.
        box: the part of the grid; None for all of it.

    Raises:
        DataError: if the calendar is asked of fields without times, or the latitude of rows that have none.
    """
    check_known(extra_inputs, latitude, times)
    mask = crop(valid.any(0), box)
    lead = (count,) if times is None else times.shape
    channels: list[Tensor] = []
    for extra in extra_inputs:
        if extra == "mask":
            channels.append(mask.float().expand(*lead, *mask.shape))
            continue
        if extra == "latitude":
            assert latitude is not None, "checked above"
            sine = torch.from_numpy(np.sin(np.deg2rad(latitude))).to(valid.device, torch.float32)
            rows = crop(sine[:, None].expand(valid.shape[-2:]), box)
            channels.append(rows.expand(*lead, *mask.shape))
            continue
        assert times is not None, "checked above"
        angle = torch.from_numpy(2 * np.pi * year_phase(times)).to(mask.device)
        channels += [wave.float()[..., None, None].expand(*lead, *mask.shape) for wave in (angle.sin(), angle.cos())]
    if not channels:
        return torch.zeros(*lead, 0, *mask.shape, device=mask.device)
    return torch.stack(channels, dim=-3)
