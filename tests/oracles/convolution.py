"""Plain NumPy, channels last: the sums written out, for comparing with what the code does by other means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def convolve(x: Array, kernel: Array) -> Array:
    """``y[b, h, w] = sum over dy, dx of x[b, h + dy - top, w + dx - left] @ kernel[dy, dx]``; ``kernel``: kh kw I O.

    Outside the grid ``x`` is zero; ``top = (kh - 1) // 2`` and ``left = (kw - 1) // 2``.
    """
    batch, height, width, _ = x.shape
    kh, kw, _, out = kernel.shape
    y = np.zeros((batch, height, width, out))
    for h in range(height):
        for w in range(width):
            for dy in range(kh):
                for dx in range(kw):
                    row, column = h + dy - (kh - 1) // 2, w + dx - (kw - 1) // 2
                    if 0 <= row < height and 0 <= column < width:
                        y[:, h, w] += x[:, row, column] @ kernel[dy, dx]
    return y


def layer_norm(x: Array, gain: Array, offset: Array, eps: float = 1e-5) -> Array:
    """Moments over height, width and channels of each sample; ``gain`` and ``offset`` for each channel (or cell)."""
    flat = x.reshape(len(x), -1)
    mean = flat.mean(1)[:, None, None, None]
    variance = ((flat - flat.mean(1, keepdims=True)) ** 2).mean(1)[:, None, None, None]
    return gain * (x - mean) / np.sqrt(variance + eps) + offset


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))
