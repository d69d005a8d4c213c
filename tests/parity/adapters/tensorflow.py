"""What the adapters of the TensorFlow repositories share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stkit.cells import NormFactory
from stkit.modules.norm.norms import ChannelNorm

from ..golden import Golden, channels_first


def nchw(field: Tensor) -> Tensor:
    """``B H W C -> B C H W``."""
    return field.movedim(-1, 1)


def channel_norm(present: bool) -> NormFactory | None:
    """Their layer norm: moments over grid and channels, gains for each channel."""
    return (lambda channels: ChannelNorm(1, channels, dtype=torch.float64)) if present else None


def compare_squares(golden: Golden, steps: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Hold a cell's recorded tensors against ours. Returns the file's loss, ours: the sum of all their squares."""
    loss = torch.zeros((), dtype=torch.float64)
    for t, ours in enumerate(steps):
        for name in golden.names(f"step.{t}."):
            value = ours[name.removeprefix(f"step.{t}.")]
            golden.compare(name, value.movedim(1, -1))
            loss = loss + value.square().sum()
    golden.compare("out.loss_sumsq", loss.reshape(1))
    return loss


def squared_loss(golden: Golden, predictions: Tensor) -> Tensor:
    """Half the sum of squares over all forecasts, held against the file's."""
    loss = (predictions - channels_first(golden.take("in.frames_BTHWC"))[:, 1:]).square().sum() / 2
    golden.compare("out.loss", loss.reshape(1))
    return loss
