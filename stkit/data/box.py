"""A rectangular part of the grid."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Box(NamedTuple):
    """Rows ``top`` to ``top + height`` and columns ``left`` to ``left + width`` (exclusive)."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """To index rows and columns with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def around(self, grid: tuple[int, int]) -> Box:
        """As large again on every side, as far as a grid of that height and width goes."""
        top, left = max(self.top - self.height, 0), max(self.left - self.width, 0)
        bottom, right = min(self.top + 2 * self.height, grid[0]), min(self.left + 2 * self.width, grid[1])
        return Box(top, left, bottom - top, right - left)

    def within(self, other: Box) -> Box:
        """The same cells, counted from the corner of another box."""
        return self._replace(top=self.top - other.top, left=self.left - other.left)


def crop(tensor: Tensor, box: Box | None) -> Tensor:
    """The box of a ``... H W`` tensor. One value for the whole field (``... 1 1``) stays as it is."""
    if box is None or tensor.shape[-2:] == (1, 1):
        return tensor
    rows, columns = box.slices
    return tensor[..., rows, columns]
