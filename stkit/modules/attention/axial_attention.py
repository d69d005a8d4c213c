"""Self-attention along the rows and then along the columns: after both, every cell has heard of every other.

Axial Attention in Multidimensional Transformers. Jonathan Ho, Nal Kalchbrenner, Dirk Weissenborn, Tim Salimans, 2019,
arXiv:1912.12180. Written from the paper. Memory grows with the grid; time with the grid times the sum of its sides.
"""

from __future__ import annotations

from torch import Tensor

from stkit.cells.attachment import Attachment, AttachmentSite
from stkit.cells.base import Tensors
from stkit.modules.attention.config import AxialAttentionConfig
from stkit.modules.attention.look import Columns, Rows
from stkit.modules.attention.self_attention import SelfAttention


class AxialAttention(Attachment):
    """``X' = columns(rows(X))``, each a self-attention with weights of its own. It remembers nothing.

    Args:
        rows: attention among the cells of a row.
        columns: attention among the cells of a column.
    """

    def __init__(self, rows: SelfAttention, columns: SelfAttention) -> None:
        super().__init__()
        self.channels = rows.channels
        self.rows, self.columns = rows, columns

    @classmethod
    def from_config(cls, config: AxialAttentionConfig, site: AttachmentSite) -> AxialAttention:
        """As a recipe says it."""
        along = (
            SelfAttention(
                site.channels,
                config.key_channels,
                look=look(heads=config.heads, scaled=config.scaled, rotary=config.positions == "rotary"),
                residual=config.residual,
                bias=config.bias,
                device=site.device,
                dtype=site.dtype,
            )
            for look in (Rows, Columns)
        )
        return cls(*along)

    def forward(self, signal: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """``signal``: ``B C H W``."""
        signal, state = self.rows(signal, state)
        changed: tuple[Tensor, Tensors] = self.columns(signal, state)
        return changed
