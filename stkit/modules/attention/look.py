"""At which cells a cell looks: at all others, at those in its window, in its row or in its column.

Axes: ``B`` batch, ``D`` depth (1 where a field has none), ``H`` height, ``W`` width, ``C`` channels; ``G`` groups of
cells that see each other, ``N`` cells of a group.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.cells.attend import attend, attention_weights
from stkit.modules.attention.config import ROTATED
from stkit.modules.attention.positions import relative_bias, rotated


class Look(nn.Module):
    """Every cell looks at all others: ``softmax(Q K^T) V``. The matrix of scores is never held.

    Args:
        heads: the channels are cut into so many parts, each of which looks for itself.
        scaled: divide the scores by the root of a head's channels.
        rotary: turn queries and keys by where they are, see :mod:`stkit.modules.attention.positions`.
    """

    def __init__(self, *, heads: int = 1, scaled: bool = False, rotary: bool = False) -> None:
        super().__init__()
        self.heads, self.scaled, self.rotary = heads, scaled, rotary

    def key_channels(self, channels: int) -> int:
        """Channels of queries and keys where none are named: half of the signal's, as many more as the heads need."""
        return default_keys(channels, self.heads, rotary=self.rotary)

    def placed(self, tokens: Tensor) -> Tensor:
        """Queries or keys ``B D H W C`` that know where they are, if they are to know it."""
        return rotated(tokens, self.heads) if self.rotary else tokens

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, valid: Tensor | None) -> Tensor:
        """What the queries find, ``B D H W C`` as the values.

        Args:
            queries: ``B D H W C``, placed.
            keys: as ``queries``.
            values: ``B D H W C``.
            valid: ``B H W``, which cells may be looked at; ``B`` may be 1; None: all.
        """
        q, k, v = (self.grouped(part) for part in (queries, keys, values))
        seen = None if valid is None else valid[:, None, :, :, None].expand(*queries.shape[:4], 1)
        allowed = self.allowed(seen, queries)
        found = attend(q, k, v, allowed, heads=self.heads, scale=self._scale(queries), bias=self.bias())
        return self.ungrouped(found, values)

    def weights(self, queries: Tensor, keys: Tensor, valid: Tensor | None, cells: Tensor) -> Tensor:
        """How some cells look at all others: ``B K 1 H W``, the mean of the heads; for :mod:`stkit.cells.observe`.

        Args:
            queries: ``B D H W C``, placed. Those of a cell's slices are averaged, the weights of their keys added up.
            keys: as ``queries``.
            valid: as in :meth:`forward`.
            cells: ``K``, counted row by row.
        """
        batch, depth, height, width, _ = queries.shape
        rows, columns = cells // width, cells % width
        there = torch.arange(height * width, device=cells.device)
        reached = self.reached(rows, columns, there // width, there % width)
        allowed = reached[None] if valid is None else reached & valid.flatten(1)[:, None]
        bias = self.bias_between(rows, columns, there // width, there % width)
        found = attention_weights(
            queries[:, :, rows, columns].flatten(1, 2),
            keys.flatten(1, 3),
            allowed.repeat(1, depth, depth),
            heads=self.heads,
            scale=self._scale(queries),
            bias=None if bias is None else bias.repeat(1, depth, depth),
        )
        found = found.reshape(batch, depth, len(cells), depth, height, width)
        return found.mean(dim=1).sum(dim=2, keepdim=True)

    def grouped(self, field: Tensor) -> Tensor:
        """``B D H W C -> G N C``."""
        return field.flatten(1, 3)

    def ungrouped(self, groups: Tensor, like: Tensor) -> Tensor:
        """Undoes :meth:`grouped` for a field ``B D H W _`` as ``like``."""
        return groups.reshape(*like.shape[:4], groups.shape[-1])

    def allowed(self, seen: Tensor | None, like: Tensor) -> Tensor | None:
        """``G N``, which cells of a group may be seen, from ``seen`` ``B D H W 1``; None: all."""
        return None if seen is None else self.grouped(seen).flatten(1)

    def bias(self) -> Tensor | None:
        """``heads N N``, added to the scores."""
        return None

    def reached(self, rows: Tensor, columns: Tensor, key_rows: Tensor, key_columns: Tensor) -> Tensor:
        """``K M``: whether the cells ``K`` look at the cells ``M`` at all."""
        return torch.ones(len(rows), len(key_rows), dtype=torch.bool, device=rows.device)

    def bias_between(self, rows: Tensor, columns: Tensor, key_rows: Tensor, key_columns: Tensor) -> Tensor | None:
        """``heads K M``: what :meth:`bias` adds for the cells ``K`` and ``M``."""
        return None

    def extra_repr(self) -> str:
        """What differs from plain attention, for ``print(model)``."""
        said = {"scaled": self.scaled, "rotary": self.rotary}
        return ", ".join([f"heads={self.heads}", *(name for name, value in said.items() if value)])

    def _scale(self, queries: Tensor) -> float:
        return (queries.shape[-1] // self.heads) ** -0.5 if self.scaled else 1.0


class Windows(Look):
    """Every cell looks at those of its window: time and memory grow with the grid, not with its square.

    Windows at the border are cut off by it. The grid may have any size.

    Args:
        side: of a window, in cells.
        shift: by how many cells the windows' borders are moved down and to the right, so that layers that look through
            windows with and without a shift exchange what they found.
        relative: add a learned number for each distance to the scores.
        device: of the parameters.
        dtype: of the parameters.
        options: as of :class:`Look`.
    """

    def __init__(
        self,
        side: int,
        *,
        shift: int = 0,
        relative: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.side = side
        self.before = -shift % side
        """Cells of the first window that lie outside the grid, on each axis."""
        self.relative = relative_bias(side, self.heads, device, dtype) if relative else None

    def grouped(self, field: Tensor) -> Tensor:
        """A group is a window with all slices; zeros lie outside the grid."""
        batch, depth, height, width, channels = field.shape
        rows, columns = self._windows(height, width)
        behind = (rows * self.side - self.before - height, columns * self.side - self.before - width)
        field = F.pad(field, (0, 0, self.before, behind[1], self.before, behind[0]))
        cut = field.reshape(batch, depth, rows, self.side, columns, self.side, channels)
        return cut.permute(0, 2, 4, 1, 3, 5, 6).flatten(3, 5).flatten(0, 2)

    def ungrouped(self, groups: Tensor, like: Tensor) -> Tensor:
        """Undoes :meth:`grouped`."""
        batch, depth, height, width = like.shape[:4]
        rows, columns = self._windows(height, width)
        cut = groups.reshape(batch, rows, columns, depth, self.side, self.side, groups.shape[-1])
        field = cut.permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3)  # -> B D rows y columns x C
        return field[:, :, self.before : self.before + height, self.before : self.before + width]

    def allowed(self, seen: Tensor | None, like: Tensor) -> Tensor | None:
        """What lies outside the grid is never seen."""
        height, width = like.shape[2:4]
        if seen is None:
            if self.before == 0 and height % self.side == 0 and width % self.side == 0:
                return None
            seen = torch.ones(*like.shape[:4], 1, dtype=torch.bool, device=like.device)
        return self.grouped(seen).flatten(1)

    def bias(self) -> Tensor | None:
        """A number for each distance."""
        if self.relative is None:
            return None
        table: Any = self.relative
        bias: Tensor = table.get_bias()[0]  # timm's
        return bias

    def reached(self, rows: Tensor, columns: Tensor, key_rows: Tensor, key_columns: Tensor) -> Tensor:
        """Those of the same window."""
        there = [(at + self.before) // self.side for at in (rows, columns, key_rows, key_columns)]
        return (there[0][:, None] == there[2]) & (there[1][:, None] == there[3])

    def bias_between(self, rows: Tensor, columns: Tensor, key_rows: Tensor, key_columns: Tensor) -> Tensor | None:
        """Any number for cells of different windows."""
        bias = self.bias()
        if bias is None:
            return None
        at = [(place + self.before) % self.side for place in (rows, columns, key_rows, key_columns)]
        return bias[:, (at[0] * self.side + at[1])[:, None], at[2] * self.side + at[3]]

    def extra_repr(self) -> str:
        """Also the windows."""
        return f"side={self.side}, before={self.before}, {super().extra_repr()}"

    def _windows(self, height: int, width: int) -> tuple[int, int]:
        return -(-(height + self.before) // self.side), -(-(width + self.before) // self.side)


class Rows(Look):
    """Every cell looks at those of its row."""

    def grouped(self, field: Tensor) -> Tensor:
        """A group is a row of a slice."""
        return field.flatten(0, 2)

    def reached(self, rows: Tensor, columns: Tensor, key_rows: Tensor, key_columns: Tensor) -> Tensor:
        """Those of the same row."""
        return rows[:, None] == key_rows


class Columns(Look):
    """Every cell looks at those of its column."""

    def grouped(self, field: Tensor) -> Tensor:
        """A group is a column of a slice."""
        return field.transpose(2, 3).flatten(0, 2)

    def ungrouped(self, groups: Tensor, like: Tensor) -> Tensor:
        """Undoes :meth:`grouped`."""
        batch, depth, height, width = like.shape[:4]
        return groups.reshape(batch, depth, width, height, groups.shape[-1]).transpose(2, 3)

    def reached(self, rows: Tensor, columns: Tensor, key_rows: Tensor, key_columns: Tensor) -> Tensor:
        """Those of the same column."""
        return columns[:, None] == key_columns


def default_keys(channels: int, heads: int, *, rotary: bool) -> int:
    """See :meth:`Look.key_channels`."""
    step = heads * ROTATED if rotary else heads
    return math.ceil(max(channels // 2, 1) / step) * step
