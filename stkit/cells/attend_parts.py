"""Attention over keys that come in parts, such as past memories: each part is kept once, however often it is looked at.

Torch's attention wants all keys in one tensor. A recurrent network that looks at its last ``S`` memories in every step
would keep ``S`` copies of each for the backward pass. Here the parts themselves are kept, and laid side by side for as
long as a pass takes. In float32 on a processor with a matrix unit both passes are compiled
(:mod:`stkit.cells.compiled.attention`). On another one the backward pass goes through blocks of the matrix of scores by
products of matrices; torch's own works on one core for each head. So do both passes in float32 on a GPU, whose fused
kernels are fast in 16 bits only.

Axes: ``B`` batch, ``N`` queries, ``M`` keys, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from stkit.cells.attend import attend
from stkit.cells.compiled import attention as by_unit

SIDE = 512
"""Queries and keys of a block of scores in the backward pass."""
SCORES = 2**26
"""Scores that are there at once on a GPU where attention is computed by products of matrices."""
_LOG2_E = 1.4426950408889634


def attend_parts(
    queries: Float[Tensor, "B N C"], *parts: Float[Tensor, "B _ C"], allowed: Bool[Tensor, "B M"] | None = None
) -> Float[Tensor, "B N C"]:
    """``softmax(Q K^T) K``, where ``K`` is all parts one after the other: keys are their own values.

    Gradients are those of first order. On a processor it computes in float32 at least, on a GPU under autocast in
    autocast's type.

    Args:
        queries: what looks.
        parts: ``B M_i C`` each, at least one.
        allowed: False where a key is never seen; None: all are. A query that may see nothing gets zeros.
    """
    if torch.compiler.is_compiling() or queries.is_meta:
        keys = torch.cat(parts, dim=1)
        return attend(queries, keys, keys, allowed)
    device = queries.device.type
    kind = made = torch.promote_types(queries.dtype, parts[0].dtype)
    if _in_blocks(queries):
        kind = torch.promote_types(kind, torch.float32)
    elif torch.is_autocast_enabled(device):
        kind = made = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled():
            found: Tensor = _OverParts.apply(kind, allowed, queries, *parts)
        elif _in_blocks(queries):
            found = _look(queries.to(kind), [part.to(kind) for part in parts], allowed)[0]
        else:
            found = _joined(queries.to(kind), torch.cat(parts, dim=1).to(kind), allowed)
    return found.to(made)


class _OverParts(torch.autograd.Function):
    """Keeps the queries, the parts, and on a processor what it found."""

    @staticmethod
    def forward(ctx: Any, kind: torch.dtype, allowed: Tensor | None, queries: Tensor, *parts: Tensor) -> Tensor:
        ctx.kind = kind
        if _in_blocks(queries):
            found, total = _look(queries.to(kind), [part.to(kind) for part in parts], allowed)
            ctx.save_for_backward(allowed, found, total, queries, *parts)
        else:
            found = _joined(queries.to(kind), torch.cat(parts, dim=1).to(kind), allowed)
            ctx.save_for_backward(allowed, None, None, queries, *parts)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        allowed, found, total, queries, *parts = ctx.saved_tensors
        kind, wanted = ctx.kind, ctx.needs_input_grad[3:]
        if found is not None:
            keys = [part.to(kind) for part in parts]
            slope, slopes = _look_back(gradient, queries.to(kind), keys, allowed, found, total, wanted)
        else:  # computed again, so that neither the joined keys nor what was found is kept
            joined = torch.cat(parts, dim=1).to(kind)
            slope, whole = _joined_back(gradient, queries.to(kind), joined, allowed)
            slopes = [*torch.split(whole, [part.shape[1] for part in parts], dim=1)]
        return (
            None,
            None,
            slope.to(queries.dtype),
            *(None if found is None else found.to(part.dtype) for found, part in zip(slopes, parts, strict=True)),
        )


def _in_blocks(queries: Tensor) -> bool:
    """Whether the backward pass goes through blocks: on a processor."""
    return queries.device.type == "cpu"


def _joined(queries: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
    """What is found on a GPU, ``B N C``."""
    if _by_products(queries):
        return _products(queries, keys, allowed)
    found: Tensor = attend(queries, keys, keys, allowed)
    return found


def _joined_back(gradient: Tensor, queries: Tensor, keys: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of the queries and of the keys on a GPU, where what was found was not kept."""
    if _by_products(queries):
        return _products_back(gradient, queries, keys, allowed)
    with torch.enable_grad():
        queries, keys = (tensor.detach().requires_grad_() for tensor in (queries, keys))
        found = attend(queries, keys, keys, allowed)
    slope, whole = torch.autograd.grad(found, [queries, keys], gradient)
    return slope, whole


def _by_products(queries: Tensor) -> bool:
    """Whether a GPU goes through blocks of scores: its fused kernels are for 16 bits."""
    return queries.dtype in (torch.float32, torch.float64)


def _products(queries: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
    """What is found, ``B N C``, with at most :data:`SCORES` scores at once."""
    found = torch.empty_like(queries, memory_format=torch.contiguous_format)
    for samples, some in _rows(queries, keys):
        weights = _weights(queries[samples, some], keys[samples], None if allowed is None else allowed[samples])
        found[samples, some] = torch.bmm(weights, keys[samples])
    return found


def _products_back(gradient: Tensor, queries: Tensor, keys: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of the queries and of the keys: with weights ``P`` and ``D = P . (G K^T - (G . P K) 1^T)`` for the
    gradient ``G`` they are ``D K`` and ``P^T G + D^T Q``."""
    slope = torch.empty_like(queries, memory_format=torch.contiguous_format)
    whole = torch.zeros_like(keys, memory_format=torch.contiguous_format)
    for samples, some in _rows(queries, keys):
        query, key, given = queries[samples, some], keys[samples], gradient[samples, some]
        weights = _weights(query, key, None if allowed is None else allowed[samples])
        found = torch.bmm(weights, key)
        moved = torch.bmm(given, key.mT).sub_((given * found).sum(dim=2, keepdim=True)).mul_(weights)
        slope[samples, some] = torch.bmm(moved, key)
        whole[samples].baddbmm_(weights.mT, given).baddbmm_(moved.mT, query)
    return slope, whole


def _weights(queries: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
    """``softmax(Q K^T)``, ``B N M``; zeros where no key may be seen."""
    scores = torch.bmm(queries, keys.mT)
    if allowed is None:
        return scores.softmax(dim=2)
    weights = scores.masked_fill_(~_some(allowed)[:, None], -torch.inf).softmax(dim=2)
    return weights.mul_(allowed.any(dim=1)[:, None, None])


def _rows(queries: Tensor, keys: Tensor) -> Iterator[tuple[slice, slice]]:
    """Samples and queries whose scores are there together."""
    (batch, count, _), width = queries.shape, keys.shape[1]
    rows = max(1, min(count, SCORES // width))
    samples = max(1, SCORES // (rows * width))
    for sample in range(0, batch, samples):
        for row in range(0, count, rows):
            yield slice(sample, sample + samples), slice(row, row + rows)


def _look(queries: Tensor, parts: list[Tensor], allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """What is found, ``B N C``, and the logarithm of the sum of the exponentials of the scores, ``B N``."""
    if by_unit.fits(queries, parts):
        found, total = by_unit.look(queries, parts, None if allowed is None else _some(allowed))
        return _nothing(found, allowed), total
    keys = torch.cat(parts, dim=1)[:, None]
    bias = None
    if allowed is not None:
        bias = torch.zeros_like(allowed, dtype=queries.dtype).masked_fill_(~_some(allowed), -torch.inf)[:, None, None]
    found, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        queries.contiguous()[:, None], keys, keys, 0.0, False, attn_mask=bias, scale=1.0
    )
    return _nothing(found[:, 0], allowed), total[:, 0]


def _look_back(
    gradient: Tensor,
    queries: Tensor,
    parts: list[Tensor],
    allowed: Tensor | None,
    found: Tensor,
    total: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients of the queries, ``B N C``, and of those parts that want one.

    With the weights ``P = 2^(log2(e) (Q K^T - total))`` and ``D = P . (G K^T - (G . found) 1^T)`` for the gradient
    ``G`` they are ``D K`` and ``P^T G + D^T Q``: one product makes both halves of a block, one adds both halves up.
    """
    gradient = _nothing(gradient, allowed)
    allowed = None if allowed is None else _some(allowed)
    if by_unit.fits(queries, parts):
        return by_unit.look_back(gradient, queries, parts, allowed, found, total, wanted)
    shift = torch.stack([total * _LOG2_E, (gradient * found).sum(dim=2)], dim=1)  # B 2 N
    left = torch.stack([queries * _LOG2_E, gradient], dim=1)  # B 2 N C
    right = torch.stack([gradient, queries], dim=1)
    slope = torch.empty_like(queries, memory_format=torch.contiguous_format)
    # Channels first, as the products are faster so, and as the memories' gradients go on.
    slopes = [
        part.new_empty(part.shape[0], part.shape[2], part.shape[1]) if want else None
        for part, want in zip(parts, wanted, strict=True)
    ]
    batch, count, _ = queries.shape
    room = queries.new_empty(2 * SIDE * SIDE)
    first = 0
    for part, own in zip(parts, slopes, strict=True):
        for samples, some, keys in _blocks(batch, count, part.shape[1]):
            key = part[samples, keys]
            at, to = left[samples, :, some].flatten(1, 2), right[samples, :, some].flatten(1, 2)
            scores = room[: at.shape[0] * at.shape[1] * key.shape[1]].view(*at.shape[:2], key.shape[1])
            torch.bmm(at, key.mT, out=scores)
            scores.sub_(shift[samples, :, some].flatten(1)[..., None])
            weights, moved = scores.chunk(2, dim=1)
            weights.exp2_()  # exp would be many times slower wherever a weight is next to nothing
            if allowed is not None:
                here = allowed[samples, first + keys.start : first + keys.start + key.shape[1]]
                weights.masked_fill_(~here[:, None], 0.0)
            moved.mul_(weights)
            slope[samples, some].baddbmm_(moved, key, beta=int(first + keys.start > 0))  # 0: what is there is not read
            if own is not None:
                own[samples, :, keys].baddbmm_(to.mT, scores, beta=int(some.start > 0))
        first += part.shape[1]
    return slope, [None if own is None else own.mT for own in slopes]


def _blocks(batch: int, queries: int, keys: int) -> Iterator[tuple[slice, slice, slice]]:
    """Samples, queries and keys of blocks of at most ``SIDE * SIDE`` scores."""
    rows, columns = min(queries, SIDE), min(keys, SIDE)
    samples = max(1, SIDE * SIDE // (rows * columns))
    for sample in range(0, batch, samples):
        for row in range(0, queries, rows):
            for column in range(0, keys, columns):
                yield slice(sample, sample + samples), slice(row, row + rows), slice(column, column + columns)


def _nothing(found: Tensor, allowed: Tensor | None) -> Tensor:
    """With zeros for samples where no key may be seen."""
    return found if allowed is None else torch.where(allowed.any(dim=1)[:, None, None], found, torch.zeros_like(found))


def _some(allowed: Tensor) -> Tensor:
    """With every key where none may be seen: a softmax over nothing has no value."""
    return allowed | ~allowed.any(dim=1, keepdim=True)
