"""The motion of a field over its last frames, and the field moved on: what a nowcast is compared with.

The motion is found by the method of Lucas and Kanade (1981) on a pyramid, coarse to fine, with windows that are smooth
and wide, over the last pairs of frames together. The field is moved by backward semi-Lagrangian trajectories in a
steady motion, as in Germann and Zawadzki (2002), and is interpolated once, from its last frame.

Axes: ``N`` sequences, ``T`` frames, ``H`` rows, ``W`` columns; a motion ``N 2 H W`` is in cells a step, down and right.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

_ITERATIONS = 4
"""At each level of the pyramid."""
_SMALLEST_SIDE = 16
"""Cells of the coarsest level."""
_FINEST = 1
"""The finest level that is looked at: single cells are noise, and the motion is smoother than they are."""
_WINDOW = 8.0
"""Standard deviation, in cells of a level, of the window in which the motion is one."""
_STIFFNESS = 0.05
"""How strongly the motion of a cell is drawn to that of the whole field, as a share of the mean gradient."""


def motion(frames: Float[Tensor, "N T H W"], valid: Bool[Tensor, "N T H W"]) -> Float[Tensor, "N 2 H W"]:
    """The motion that carries each frame into the next one, one for all pairs.

    Args:
        frames: at least two, on a scale on which all structures count.
        valid: where there is a value.
    """
    height, width = frames.shape[-2:]
    levels = 0
    while min(height, width) >> (levels + 1) >= _SMALLEST_SIDE:
        levels += 1
    known = valid.to(frames)
    mean = (frames * known).sum((-1, -2), keepdim=True) / known.sum((-1, -2), keepdim=True).clamp(min=1)
    values, weights = [torch.where(valid, frames, mean)], [known]
    for _ in range(levels):
        values.append(functional.avg_pool2d(values[-1], 2, ceil_mode=True))
        weights.append(functional.avg_pool2d(weights[-1], 2, ceil_mode=True))
    flow = frames.new_zeros(len(frames), 2, *values[-1].shape[-2:])
    for level in range(levels, min(levels, _FINEST) - 1, -1):
        shape = values[level].shape[-2:]
        if flow.shape[-2:] != shape:
            flow = 2 * functional.interpolate(flow, shape, mode="bilinear", align_corners=False)
        flow = _refined(flow, values[level], weights[level])
    if flow.shape[-2:] != (height, width):
        flow = 2**_FINEST * functional.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
    return flow


def advect(frame: Float[Tensor, "N H W"], flow: Float[Tensor, "N 2 H W"], leads: int) -> Float[Tensor, "N leads H W"]:
    """A field carried on by a steady motion. NaN where it comes from outside the grid or from where there was no value.

    Args:
        frame: the last known one, NaN where there is no value.
        flow: cells a step.
        leads: steps.
    """
    valid = frame.isfinite()
    both = torch.stack([torch.where(valid, frame, 0.0), valid.to(frame)], dim=1)
    height, width = frame.shape[-2:]
    rows = torch.arange(height, device=frame.device, dtype=frame.dtype).view(-1, 1).expand(height, width)
    columns = torch.arange(width, device=frame.device, dtype=frame.dtype).expand(height, width)
    grid = torch.stack([rows, columns])
    place = grid.expand(len(frame), 2, height, width)
    out = []
    for _ in range(leads):
        # Midpoint rule: the motion half a step back says where the parcel came from.
        middle = place - _sample(flow, place) / 2
        place = place - _sample(flow, middle)
        value, weight = _sample(both, place).unbind(1)
        inside = ((place >= -0.5) & (place <= place.new_tensor([height - 0.5, width - 0.5]).view(2, 1, 1))).all(1)
        out.append(torch.where(inside & (weight > 0.5), value / weight.clamp(min=1e-6), torch.nan))
    return torch.stack(out, dim=1)


def _refined(flow: Tensor, frames: Tensor, weights: Tensor) -> Tensor:
    """Newton steps at one level: the second frame of each pair is drawn back along the motion found so far."""
    count, steps = frames.shape[:2]
    height, width = frames.shape[-2:]
    before, after = frames[:, :-1].flatten(0, 1)[:, None], frames[:, 1:].flatten(0, 1)[:, None]
    counted = torch.cat([weights[:, :-1].flatten(0, 1)[:, None], weights[:, 1:].flatten(0, 1)[:, None]], dim=1)
    grid = _grid(flow)
    for _ in range(_ITERATIONS):
        place = grid + flow.repeat_interleave(steps - 1, dim=0)
        moved = _sample(after, place)
        known = counted[:, :1] * _sample(counted[:, 1:], place)
        inside = (place >= 0) & (place <= place.new_tensor([height - 1.0, width - 1.0]).view(2, 1, 1))
        known = known * inside.all(1, keepdim=True)
        down, right = _gradient((before + moved) / 2)
        change = moved - before
        products = torch.cat([down * down, right * right, down * right, down * change, right * change], dim=1) * known
        products = products.view(count, steps - 1, *products.shape[1:]).sum(1)
        flow = flow + _solved(products, flow)
    return flow


def _solved(products: Tensor, flow: Tensor) -> Tensor:
    """The step of the motion: least squares in a window around each cell, drawn to that of the whole field."""
    whole = products.mean((-1, -2), keepdim=True)
    local = _smooth(products, _WINDOW) + _STIFFNESS * whole
    step = -_solve(*local.unbind(1))
    # A little smoothing keeps cells without structure from running away.
    return _smooth((flow + step).clamp(-_SMALLEST_SIDE, _SMALLEST_SIDE), 2.0) - flow


def _solve(dd: Tensor, rr: Tensor, dr: Tensor, dc: Tensor, rc: Tensor) -> Tensor:
    damping = 1e-3 * (dd + rr) + torch.finfo(dd.dtype).tiny ** 0.5
    dd, rr = dd + damping, rr + damping
    determinant = dd * rr - dr * dr
    return torch.stack([(rr * dc - dr * rc) / determinant, (dd * rc - dr * dc) / determinant], dim=1)


def _gradient(fields: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences down and right of ``N 1 H W``."""
    padded = functional.pad(fields, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2, (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2


def _smooth(fields: Tensor, sigma: float) -> Tensor:
    """Gaussian mean over the cells that there are, of ``N K H W``."""
    half = int(3 * sigma)
    offsets = torch.arange(-half, half + 1, device=fields.device, dtype=fields.dtype)
    kernel = torch.exp(-((offsets / sigma) ** 2) / 2)
    channels = fields.shape[1] + 1
    both = torch.cat([fields, torch.ones_like(fields[:, :1])], dim=1)
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        weights = kernel.view(shape).expand(channels, 1, *kernel.view(shape).shape[2:])
        padding = (half, 0) if shape[2] == -1 else (0, half)
        both = functional.conv2d(both, weights, padding=padding, groups=channels)
    return both[:, :-1] / both[:, -1:]


def _grid(flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype).view(-1, 1).expand(height, width)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype).expand(height, width)
    return torch.stack([rows, columns])


def _sample(fields: Float[Tensor, "N K H W"], place: Float[Tensor, "N 2 H W"]) -> Float[Tensor, "N K H W"]:
    """Bilinear values of fields at places in cells; beyond the edge those of the edge."""
    height, width = fields.shape[-2:]
    scale = place.new_tensor([2 / max(height - 1, 1), 2 / max(width - 1, 1)]).view(2, 1, 1)
    down, right = (place * scale - 1).unbind(1)
    grid = torch.stack([right, down], dim=-1)
    return functional.grid_sample(fields, grid, mode="bilinear", padding_mode="border", align_corners=True)
