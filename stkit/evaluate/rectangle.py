"""The largest rectangle of a grid without land: where a spectrum can be made without making anything up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest_rectangle(whole: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Rows and columns of the rectangle of cells that are all True; None where no cell is.

    That with the longest shorter side, and of these the one of the most cells: a strip one cell wide has no spectrum.

    Args:
        whole: ``H W``.
    """
    height, width = whole.shape
    best, found = (0, 0), None
    above = np.zeros(width, dtype=np.int64)
    for row in range(height):
        above = np.where(whole[row], above + 1, 0)
        # Columns whose runs of cells upward are ever longer: each is closed by the first that is shorter.
        open_at: list[tuple[int, int]] = []
        for column, tall in enumerate([*above.tolist(), 0]):
            start = column
            while open_at and open_at[-1][1] >= tall:
                start, run = open_at.pop()
                size = (min(run, column - start), run * (column - start))
                if size > best:
                    best, found = size, (slice(row + 1 - run, row + 1), slice(start, column))
            if tall:
                open_at.append((start, tall))
    return found
