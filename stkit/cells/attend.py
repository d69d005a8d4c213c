"""Attention between the cells of a grid, without ever holding the matrix of scores.

Axes: ``B`` batch, ``N`` queries, ``M`` keys, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

_ALIGNMENT = 8
"""Channels that the fused kernels of a GPU come in multiples of."""


def attend(
    queries: Float[Tensor, "B N C"],
    keys: Float[Tensor, "B M C"],
    values: Float[Tensor, "B M V"],
    allowed: Bool[Tensor, "B M"] | None = None,
    *,
    heads: int = 1,
    scale: float = 1.0,
    bias: Float[Tensor, "heads N M"] | None = None,
) -> Float[Tensor, "B N V"]:
    """``softmax(scale Q K^T + bias) V`` for each head, the heads side by side in the channels.

    Args:
        queries: what looks.
        keys: what is looked at.
        values: what is seen there.
        allowed: False where a key is never seen; None: all are. A query that may see nothing gets zeros.
        heads: the channels are cut into so many parts, each of which looks for itself; they divide ``C`` and ``V``.
        scale: of the scores; 1: no division by ``sqrt(C)``, the papers here print none.
        bias: added to the scores, the same for all samples.
    """
    seen = None
    mask: Tensor | None = None if bias is None else bias[None]
    if allowed is not None:
        seen = allowed.any(dim=1)[:, None, None]
        allowed = (allowed | ~seen[:, 0])[:, None, None, :]  # B 1 1 M; a softmax over nothing has no value
        mask = allowed if mask is None else mask.masked_fill(~allowed, -torch.inf)
    channels = values.shape[-1] // heads
    # The fused kernels want queries, keys and values of one width: zeros more add nothing to a product. Otherwise torch
    # would compute the full matrix without a word.
    together = max(channels, keys.shape[-1] // heads)
    together += -together % _ALIGNMENT if queries.is_cuda else 0
    q, k, v = (_by_head(tokens, heads, together) for tokens in (queries, keys, values))
    found = _product(q, k, v, mask, scale)[..., :channels].transpose(1, 2).flatten(2)
    return found if seen is None else torch.where(seen, found, torch.zeros_like(found))


def attention_weights(
    queries: Float[Tensor, "B K C"],
    keys: Float[Tensor, "B M C"],
    allowed: Bool[Tensor, "_ M"] | Bool[Tensor, "_ K M"] | None = None,
    *,
    heads: int = 1,
    scale: float = 1.0,
    bias: Float[Tensor, "heads K M"] | None = None,
) -> Float[Tensor, "B K M"]:
    """The weights with which :func:`attend` sees its values, for a few queries, to be looked at: the mean of the heads.

    Args:
        queries: a few of them, because the result holds a weight for each pair.
        keys: all of them.
        allowed: False where a key is never seen, by any query or by each; None: all are. A query that may see nothing
            has no weights but zeros. The first axis may be 1.
        heads: as in :func:`attend`.
        scale: as in :func:`attend`.
        bias: as in :func:`attend`.
    """
    q, k = (_heads(tokens, heads) for tokens in (queries, keys))
    scores = scale * q @ k.transpose(2, 3)  # B heads K M
    if bias is not None:
        scores = scores + bias
    if allowed is not None:
        seen = (allowed if allowed.ndim == 3 else allowed[:, None])[:, None]
        scores = scores.masked_fill(~seen, -torch.inf)
    weights = scores.softmax(dim=3)
    if allowed is not None:
        weights = torch.where(seen, weights, torch.zeros_like(weights))  # no NaN where nothing may be seen
    return weights.mean(dim=1)


class KeyMask(nn.Module):
    """Which cells of the grid may be attended to. All may, until :func:`mask_keys` says otherwise.

    The mask belongs to the field, not to the weights: it is not saved with them.
    """

    valid: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("valid", None, persistent=False)

    def forward(self, height: int, width: int) -> Bool[Tensor, "B H W"] | None:
        """The mask of a grid of this size, one for all samples (``B`` is 1) or one for each; None: nothing is masked.

        Raises:
            ValueError: if the mask belongs to another grid.
        """
        if self.valid is None:
            return None
        if tuple(self.valid.shape[-2:]) != (height, width):
            given = " x ".join(str(side) for side in self.valid.shape[-2:])
            raise ValueError(f"the attention's mask belongs to a grid of {given}, received {height} x {width}")
        return self.valid if self.valid.ndim == 3 else self.valid[None]


def mask_keys(module: nn.Module, valid: Tensor | None) -> None:
    """Let no attention inside ``module`` look at cells where ``valid`` is False, such as land.

    Args:
        module: a cell, a stack or a whole model.
        valid: bool ``H W`` in the grid of the model's cells, counted in patches, or ``B H W`` where samples differ;
            None: every cell may be attended to.

    Raises:
        ValueError: if the mask is not one bool for each cell.
    """
    if valid is not None and (valid.dtype != torch.bool or valid.ndim not in (2, 3)):
        raise ValueError(f"a mask is bool with the axes H W or B H W, received {valid.dtype} {tuple(valid.shape)}")
    for mask in _masks(module):
        mask.valid = valid


@contextmanager
def masked_keys(module: nn.Module, valid: Tensor | None) -> Iterator[None]:
    """:func:`mask_keys` for as long as the context lasts, then everything is as before; None changes nothing."""
    if valid is None:
        yield
        return
    before = [(mask, mask.valid) for mask in _masks(module)]
    mask_keys(module, valid)
    try:
        yield
    finally:
        for mask, previous in before:
            mask.valid = previous


def _masks(module: nn.Module) -> list[KeyMask]:
    return [part for part in module.modules() if isinstance(part, KeyMask)]


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """``B N (heads C) -> B heads N C``."""
    return tokens.reshape(*tokens.shape[:2], heads, -1).transpose(1, 2)


def _by_head(tokens: Tensor, heads: int, width: int) -> Tensor:
    """``B N (heads C) -> B heads N width``, contiguous, with zeros for the channels that are missing."""
    parts = _heads(tokens, heads)
    missing = width - parts.shape[-1]
    return F.pad(parts, (0, missing)) if missing else parts.contiguous()


def _product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    if not q.is_meta:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    # On the meta device torch would go through the full matrix, and a dry run would count memory that is never taken.
    if mask is not None:
        mask = None if mask.dtype == torch.bool else mask.expand(*q.shape[:3], k.shape[2])
    found: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        q, k, v, mask, True, 0.0, False, scale=scale
    )[0]
    return found
