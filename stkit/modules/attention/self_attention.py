"""Self-Attention ConvLSTM for Spatiotemporal Prediction: the self-attention of its base model.

Zhihui Lin, Maomao Li, Zhuobin Zheng, Yangyang Cheng, Chun Yuan, AAAI 2020. The authors published no code. The paper
gives no number for the channels of queries and keys; half of the signal's is a choice.

Axes: ``B`` batch, ``N`` cells of the grid, ``C`` channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stkit.cells import observe
from stkit.cells.attachment import Attachment, AttachmentSite
from stkit.cells.attend import KeyMask, attend, attention_weights
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
        options = config.model_dump(exclude={"name", "layers", "when"})
        return cls(site.channels, **options, device=site.device, dtype=site.dtype)

    def forward(self, signal: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """``signal``: ``B C *grid``."""
        tokens, seen = by_cell(signal), allowed(self.mask, signal)
        q, k = self.query(tokens), self.key(tokens)
        observe.attention(self, ("signal",), lambda cells: weights_on_grid(q, k, seen, cells, signal))
        found = attend(q, k, self.value(tokens), seen)
        out = on_grid(self.out(found), signal)
        return signal + out if self.residual else out, state


def by_cell(signal: Tensor) -> Tensor:
    """``B C *grid -> B N C``."""
    return signal.flatten(2).movedim(1, 2)


def on_grid(tokens: Tensor, like: Tensor) -> Tensor:
    """``B N C -> B C *grid``, on the grid of ``like``."""
    return tokens.movedim(2, 1).reshape(like.shape[0], tokens.shape[2], *like.shape[2:])


def weights_on_grid(queries: Tensor, keys: Tensor, seen: Tensor | None, cells: Tensor, like: Tensor) -> Tensor:
    """How the queries of some cells look at all others: ``B K 1 H W``, for :mod:`stkit.cells.observe`.

    Args:
        queries: ``B N C``, of every cell of the grid.
        keys: ``B N C``.
        seen: ``B N``, which keys may be seen; None: all.
        cells: ``K``, counted row by row. In a field with a depth, a cell stands for all its slices: their queries are
            averaged, the weights of their keys added up.
        like: ``B C *grid``.
    """
    height, width = like.shape[-2:]
    batch, depth = like.shape[0], keys.shape[1] // (height * width)
    chosen = queries.unflatten(1, (depth, height * width))[:, :, cells].flatten(1, 2)
    weights = attention_weights(chosen, keys, seen).unflatten(1, (depth, len(cells))).mean(dim=1)
    return weights.reshape(batch, len(cells), depth, height, width).sum(dim=2, keepdim=True)


def allowed(mask: KeyMask, signal: Tensor) -> Tensor | None:
    """Which cells of ``signal`` (``B C *grid``) may be looked at: ``B N``; None: all."""
    valid: Tensor | None = mask(*signal.shape[-2:])
    if valid is None:
        return None
    valid = valid if signal.ndim == 4 else valid[:, None]  # all slices of a depth have the same mask
    return valid.expand(signal.shape[0], *signal.shape[2:]).flatten(1)
