"""Many tests at once: which of them may be called a find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def adjusted(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The p-values adjusted for their number (Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57, 289-300).

    Of the tests whose adjusted value is at most ``q``, no more than the share ``q`` are false finds in the mean, where
    the tests are independent or, as those of neighbouring cells, positively dependent (Benjamini and Yekutieli 2001).

    Args:
        p_values: any shape; they count as one family.

    Returns:
        The same shape, in [0, 1].
    """
    flat = p_values.ravel()
    order = np.argsort(flat)[::-1]
    ranks = np.arange(flat.size, 0, -1)
    falling = np.minimum.accumulate(flat[order] * flat.size / ranks)
    out = np.empty_like(flat)
    out[order] = np.minimum(falling, 1.0)
    return out.reshape(p_values.shape)
