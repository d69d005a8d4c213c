"""How strongly the error of the last forecast frame depends on each input frame.

PredRNN++ (Wang et al. 2018) shows by this that its gradient highway keeps early frames in reach.

Axes: ``B`` batch, ``T`` input steps, ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stkit.diagnose.windows import Window


def last_frame_loss(forecast: Tensor, window: Window) -> Tensor:
    """Mean squared error of the last frame over cells with a value, in the model's own units; 0 if there are none."""
    error = (forecast[:, -1] - window.truth[:, -1]).square()
    counts = window.truth_valid[:, -1]
    return torch.where(counts, error, torch.zeros_like(error)).sum() / counts.sum().clamp(min=1)


def frame_norms(loss: Tensor, context: Tensor, channels: int) -> Tensor:
    """Euclidean norm of the loss's gradient with respect to each frame of a context: ``T``, float64.

    Args:
        loss: a scalar that was computed from ``context``.
        context: ``1 T C H W``, of which the gradient is taken.
        channels: how many of its channels, the first ones, are the field; known inputs such as a calendar do not count.
    """
    (gradient,) = torch.autograd.grad(loss, context)
    return gradient[0, :, :channels].to(torch.float64).square().sum(dim=(1, 2, 3)).sqrt().cpu()
