"""Configurations of the built-in attention modules. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from stkit.plugin.config import AttentionConfig

ROTATED = 4
"""Channels that rotary positions turn together: a pair by the row, a pair by the column."""


class _GridAttentionConfig(AttentionConfig):
    """What all attention over a grid has."""

    heads: int = Field(1, ge=1)
    """Parts that the channels are cut into, each of which looks for itself; it divides them."""
    key_channels: int | None = Field(None, ge=1)
    """Channels of queries and keys (the paper gives no number); null: half of the signal's, and as many more as the
    heads need."""

    def misfits(self, *, channels: int, depth: int, grid: tuple[int, int] | None) -> Iterable[str]:
        """Heads must divide the channels; rotary positions turn four of a head's at a time."""
        if channels % self.heads:
            yield f"{self.heads} heads do not divide the {channels} channels"
        if self.key_channels is None:
            return
        if self.key_channels % self.heads:
            yield f"{self.heads} heads do not divide the {self.key_channels} channels of 'key_channels'"
        elif getattr(self, "positions", "none") == "rotary" and self.key_channels % (ROTATED * self.heads):
            each = self.key_channels // self.heads
            yield (
                f"rotary positions turn {ROTATED} channels together, and {self.key_channels} 'key_channels' in "
                f"{self.heads} heads are {each} for each: take a multiple of {ROTATED * self.heads}"
            )


class SelfAttentionConfig(_GridAttentionConfig):
    """Self-attention over the cells of the grid (Lin et al. 2020, the base model)."""

    takes_depth: ClassVar[bool] = True

    residual: bool = True
    """Add the signal to what was found, as printed."""
    bias: bool = False
    """Add offsets to all projections. That of the keys then learns nothing: a softmax does not see it."""
    scaled: bool = False
    """Divide the scores by the root of a head's key channels; not in the paper."""
    positions: Literal["none", "rotary"] = "none"
    """How attention knows where cells are: not at all, as in the paper, or by turning queries and keys (Su et al.
    2021), so that the distance between two cells matters."""


class SelfAttentionMemoryConfig(_GridAttentionConfig):
    """Self-attention with a memory of its own (Lin et al. 2020, the SAM module)."""

    takes_depth: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    kernel: int = Field(3, ge=1)
    """Side in cells of the gates' convolutions (the paper gives no number)."""
    separable: bool = True
    """The gates' convolutions are depth-wise separable, as printed; else plain ones."""
    project_found: bool = False
    """Project what was found in the signal and in the memory once more, each by itself; not in the paper."""
    wide_fusion: bool = False
    """The fusion of both keeps all their channels; in the paper it has those of the signal."""
    bias: bool = False
    """Add offsets to all projections, too, not to the gates alone. Those of the keys learn nothing."""
    scaled: bool = False
    """Divide the scores by the root of a head's key channels; not in the paper."""
    positions: Literal["none", "rotary"] = "none"
    """How attention knows where cells are, as of ``self_attention``."""
    window: int | None = Field(None, ge=1)
    """For large grids: side in cells of the windows inside which cells look at each other; null: the whole grid, as in
    the paper."""

    def misfits(self, *, channels: int, depth: int, grid: tuple[int, int] | None) -> Iterable[str]:
        """Heads, and a window that is larger than the grid."""
        yield from super().misfits(channels=channels, depth=depth, grid=grid)
        if self.window is not None:
            yield from _window_misfits(self.window, grid)


class WindowedAttentionConfig(_GridAttentionConfig):
    """Self-attention inside square windows, for large grids (Liu et al. 2021)."""

    window: int = Field(8, ge=1)
    """Side of a window, in cells; those at the border are cut off by it."""
    shift: int = Field(0, ge=0)
    """Cells by which the windows are moved down and to the right: half a window in every other layer lets windows
    exchange what they found."""
    residual: bool = True
    """Add the signal to what was found."""
    bias: bool = False
    """Add offsets to all projections. That of the keys learns nothing without rotary positions."""
    scaled: bool = True
    """Divide the scores by the root of a head's key channels."""
    positions: Literal["none", "rotary", "relative"] = "relative"
    """How attention knows where cells are: not at all, by turning queries and keys (Su et al. 2021), or by a learned
    number for each distance inside a window."""

    @model_validator(mode="after")
    def _shift_is_part_of_a_window(self) -> WindowedAttentionConfig:
        if self.shift >= self.window:
            raise ValueError(f"windows of {self.window} cells are shifted by 0 to {self.window - 1} of them")
        return self

    def misfits(self, *, channels: int, depth: int, grid: tuple[int, int] | None) -> Iterable[str]:
        """Heads, and a window that is larger than the grid."""
        yield from super().misfits(channels=channels, depth=depth, grid=grid)
        yield from _window_misfits(self.window, grid)


class AxialAttentionConfig(_GridAttentionConfig):
    """Self-attention along the rows, then along the columns, for large grids (Ho et al. 2019)."""

    residual: bool = True
    """Add the signal to what was found, in both steps."""
    bias: bool = False
    """Add offsets to all projections. That of the keys learns nothing without rotary positions."""
    scaled: bool = True
    """Divide the scores by the root of a head's key channels."""
    positions: Literal["none", "rotary"] = "rotary"
    """How attention knows where cells are: not at all, or by turning queries and keys (Su et al. 2021), so that the
    distance between two cells matters."""


def _window_misfits(side: int, grid: tuple[int, int] | None) -> Iterable[str]:
    if grid is not None and side > min(grid):
        yield (
            f"a window of {side} x {side} does not fit the grid of {grid[0]} x {grid[1]} (counted in patches); take "
            f"'window: {min(grid)}' or less"
        )
