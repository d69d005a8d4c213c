"""Self-Attention ConvLSTM for Spatiotemporal Prediction: the self-attention of its base model.

Zhihui Lin, Maomao Li, Zhuobin Zheng, Yangyang Cheng, Chun Yuan, AAAI 2020. The authors published no code. The paper
gives no number for the channels of queries and keys; half of the signal's is a choice.

Axes: ``B`` batch, ``N`` cells of the grid, ``C`` channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stkit.cells.attached import Attachment, AttachmentSite
from stkit.cells.attend import KeyMask, attend
from stkit.cells.base import Tensors
from stkit.modules.attention.config import SelfAttentionConfig


class SelfAttention(Attachment):
    """Equations (1) to (4): every cell of the grid looks at all others. No scaling of the scores is printed::

        Z = softmax((Wq X)^T (Wk X)) (Wv X)
        X' = Wf Z + X

    All ``W`` are 1x1. It remembers nothing. Cells that :func:`stkit.cells.attend.mask_keys` excludes are never looked
    at.

    Args:
        channels: of the signal.
        key_channels: of queries and keys; None: half of ``channels``.
        residual: add ``X``.
        bias: add offsets to all projections.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        key_channels: int | None = None,
        *,
        residual: bool = True,
        bias: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.residual = residual
        keys = key_channels or max(channels // 2, 1)
        self.query = nn.Linear(channels, keys, bias, device, dtype)
        self.key = nn.Linear(channels, keys, bias, device, dtype)
        self.value = nn.Linear(channels, channels, bias, device, dtype)
        self.out = nn.Linear(channels, channels, bias, device, dtype)
        self.mask = KeyMask()

    @classmethod
    def from_config(cls, config: SelfAttentionConfig, site: AttachmentSite) -> SelfAttention:
        """As a recipe says it."""
        options = config.model_dump(exclude={"name", "layers"})
        return cls(site.channels, **options, device=site.device, dtype=site.dtype)

    def forward(self, signal: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """``signal``: ``B C *grid``."""
        tokens = by_cell(signal)
        found = attend(self.query(tokens), self.key(tokens), self.value(tokens), allowed(self.mask, signal))
        out = on_grid(self.out(found), signal)
        return signal + out if self.residual else out, state


def by_cell(signal: Tensor) -> Tensor:
    """``B C *grid -> B N C``."""
    return signal.flatten(2).movedim(1, 2)


def on_grid(tokens: Tensor, like: Tensor) -> Tensor:
    """``B N C -> B C *grid``, on the grid of ``like``."""
    return tokens.movedim(2, 1).reshape(like.shape[0], tokens.shape[2], *like.shape[2:])


def allowed(mask: KeyMask, signal: Tensor) -> Tensor | None:
    """Which cells of ``signal`` (``B C *grid``) may be looked at: ``B N``; None: all."""
    valid: Tensor | None = mask(*signal.shape[-2:])
    if valid is None:
        return None
    return valid.expand(signal.shape[0], *signal.shape[2:]).flatten(1)
