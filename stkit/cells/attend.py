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
) -> Float[Tensor, "B N V"]:
    """``softmax(Q K^T) V``, with no division by ``sqrt(C)``: the papers here print none.

    Args:
        queries: what looks.
        keys: what is looked at.
        values: what is seen there.
        allowed: False where a key is never seen; None: all are. A query that may see nothing gets zeros.
    """
    seen = None
    if allowed is not None:
        seen = allowed.any(dim=1)[:, None, None]
        allowed = (allowed | ~seen[:, 0])[:, None, None, :]  # B 1 1 M; a softmax over nothing has no value
    channels = values.shape[-1]
    # The fused kernels want queries, keys and values of one width: zeros more add nothing to a product. Otherwise torch
    # would compute the full matrix without a word.
    together = max(channels, keys.shape[-1])
    together += -together % _ALIGNMENT if queries.is_cuda else 0
    q, k, v = (_fused(tokens, together) for tokens in (queries, keys, values))
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=1.0)[:, 0, :, :channels]
    return found if seen is None else torch.where(seen, found, torch.zeros_like(found))


def attention_weights(
    queries: Float[Tensor, "B K C"],
    keys: Float[Tensor, "B M C"],
    allowed: Bool[Tensor, "_ M"] | Bool[Tensor, "_ K M"] | None = None,
) -> Float[Tensor, "B K M"]:
    """The weights with which :func:`attend` sees its values, for a few queries, to be looked at.

    Args:
        queries: a few of them, because the result holds a weight for each pair.
        keys: all of them.
        allowed: False where a key is never seen, by any query or by each; None: all are. A query that may see nothing
            has no weights but zeros. The first axis may be 1.
    """
    scores = queries @ keys.transpose(1, 2)
    if allowed is None:
        return scores.softmax(dim=2)
    seen = allowed if allowed.ndim == 3 else allowed[:, None]
    weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=2)
    return torch.where(seen, weights, torch.zeros_like(weights))  # no NaN where nothing may be seen


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


def _fused(tokens: Tensor, width: int) -> Tensor:
    """``B 1 N width``, contiguous."""
    missing = width - tokens.shape[-1]
    return (F.pad(tokens, (0, missing)) if missing else tokens.contiguous())[:, None]
