"""Square patches folded into channels, and padding of any field to whole patches.

Axes: leading axes such as ``B T``, ``C`` channels, ``H`` height, ``W`` width; ``h w``: counted in patches; ``P``: the
patch's side in cells.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Fields = Float[Tensor, "*lead _ _ _"]


def fold(fields: Fields, patch: int) -> Fields:
    """``.. C H W -> .. P*P*C H/P W/P``; the channel ``c`` of the cell ``(dy, dx)`` of a patch is ``(dy*P + dx)*C + c``.

    Raises:
        ValueError: if the patch does not divide the grid.
    """
    *lead, channels, height, width = fields.shape
    if height % patch or width % patch:
        raise ValueError(f"patches of {patch} x {patch} cells do not divide a grid of {height} x {width}")
    if patch == 1:
        return fields
    h, w = height // patch, width // patch
    cells = fields.reshape(math.prod(lead), channels, h, patch, w, patch)  # N C h dy w dx
    return cells.permute(0, 3, 5, 1, 2, 4).reshape(*lead, patch * patch * channels, h, w)  # N dy dx C h w


def unfold(folded: Fields, patch: int) -> Fields:
    """``.. P*P*C h w -> .. C h*P w*P``: undoes :func:`fold`.

    Raises:
        ValueError: if the channels are not a multiple of the patch's cells.
    """
    *lead, channels, h, w = folded.shape
    if channels % (patch * patch):
        raise ValueError(f"{channels} channels are no whole number of {patch} x {patch} patches")
    if patch == 1:
        return folded
    kept = channels // (patch * patch)
    cells = folded.reshape(math.prod(lead), patch, patch, kept, h, w)  # N dy dx C h w
    return cells.permute(0, 3, 4, 1, 5, 2).reshape(*lead, kept, h * patch, w * patch)  # N C h dy w dx


class Patches:
    """Folding of fields of one size, padded to whole patches with zeros, as the convolutions pad beyond the border.

    .. code-block:: python

        patches = Patches(patch=4, height=18, width=95)
        patches.grid                                    # (5, 24)
        patches.unfold(patches.fold(fields)) == fields

    Args:
        patch: side in cells.
        height: of the fields, in cells.
        width: of the fields, in cells.
    """

    def __init__(self, patch: int, height: int, width: int) -> None:
        self.patch, self.height, self.width = patch, height, width
        self.grid = (-(-height // patch), -(-width // patch))
        self.pad_height, self.pad_width = self.grid[0] * patch - height, self.grid[1] * patch - width
        # Sizes that are not known yet, of a graph that is being exported, are no int.
        self._whole = (self.pad_height, self.pad_width) == (0, 0) if type(height) is type(width) is int else False

    def fold(self, fields: Fields) -> Fields:
        """``.. C H W -> .. P*P*C h w``."""
        if self.patch == 1:
            return fields
        return fold(fields if self._whole else F.pad(fields, (0, self.pad_width, 0, self.pad_height)), self.patch)

    def unfold(self, folded: Fields) -> Fields:
        """``.. P*P*C h w -> .. C H W``, with the padding cut off."""
        if self.patch == 1:
            return folded
        if self._whole:
            return unfold(folded, self.patch)
        # Less than no padding, not a slice: an exported graph would hold only where a slice cuts as much.
        return F.pad(unfold(folded, self.patch), (0, -self.pad_width, 0, -self.pad_height))
