"""Attention over keys that come in parts and are their own values, by the processor's matrix unit.

Axes: ``B`` batch, ``N`` queries, ``M`` keys, ``C`` channels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from stkit.cells.compiled.compiler import ATTENTION, NoCompiler, library
from stkit.cells.compiled.kernels import in_memory
from stkit.cells.modes import seen_by_modes

_Long, _Address, _Int = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
_ARGUMENTS: dict[str, tuple[Any, list[Any]]] = {
    "room_to_look": (_Long, [_Long] * 2),
    "room_to_look_back": (_Long, [_Long, _Long, _Int]),
    "look": (None, [*[_Address] * 3, _Long, _Address, *[_Long] * 3, *[_Address] * 3, _Int]),
    "look_back": (None, [*[_Address] * 4, _Long, _Address, *[_Long] * 3, *[_Address] * 5, _Int]),
}


def fits(queries: Tensor, parts: Sequence[Tensor]) -> bool:
    """Whether it computes these: in float32 on a processor that has the unit, where nobody looks on at operators."""
    given = (queries, *parts)
    if seen_by_modes() or any(t.dtype != torch.float32 or not t.numel() or not in_memory(t) for t in given):
        return False
    return bool(_functions())


def look(queries: Tensor, parts: Sequence[Tensor], allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """What is found, ``B N C``, and the logarithm of the sum of the exponentials of the scores, ``B N``.

    Args:
        queries: ``B N C``.
        parts: ``B M_i C`` each.
        allowed: ``B M``, False where a key is never seen, with at least one True a row; None: all are.
    """
    functions, (batch, count, channels), threads = _functions(), queries.shape, torch.get_num_threads()
    queries, parts = queries.contiguous(), [part.contiguous() for part in parts]
    allowed = None if allowed is None else allowed.contiguous()
    found, sums = torch.empty_like(queries), queries.new_empty(2, batch, count)
    room = torch.empty(functions["room_to_look"](count, channels), dtype=torch.uint8)
    functions["look"](
        queries.data_ptr(),
        *_keys(parts, allowed),
        *queries.shape,
        *(into.data_ptr() for into in (found, sums, room)),
        threads,
    )
    return found, sums[0] + sums[1].log()


def look_back(
    gradient: Tensor,
    queries: Tensor,
    parts: Sequence[Tensor],
    allowed: Tensor | None,
    found: Tensor,
    total: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients of the queries, ``B N C``, and of those parts that want one, from that of what was found.

    Args:
        gradient: ``B N C``.
        queries: as in :func:`look`.
        parts: as in :func:`look`.
        allowed: as in :func:`look`.
        found: what :func:`look` gave.
        total: what it gave beside it.
        wanted: for each part, whether it wants one.
    """
    functions, (_, count, channels), threads = _functions(), queries.shape, torch.get_num_threads()
    gradient, queries, total = gradient.contiguous(), queries.contiguous(), total.contiguous()
    parts = [part.contiguous() for part in parts]
    allowed = None if allowed is None else allowed.contiguous()
    shift = (gradient * found).sum(dim=2)
    slope = torch.empty_like(queries)
    slopes = [torch.empty_like(part) if want else None for part, want in zip(parts, wanted, strict=True)]
    room = torch.empty(functions["room_to_look_back"](count, channels, threads), dtype=torch.uint8)
    functions["look_back"](
        gradient.data_ptr(),
        queries.data_ptr(),
        *_keys(parts, allowed),
        *queries.shape,
        *(known.data_ptr() for known in (total, shift, slope)),
        _addresses(slopes),
        room.data_ptr(),
        threads,
    )
    return slope, slopes


def _keys(parts: Sequence[Tensor], allowed: Tensor | None) -> tuple[Any, ...]:
    sizes = (_Long * len(parts))(*(part.shape[1] for part in parts))
    return _addresses(parts), sizes, len(parts), None if allowed is None else allowed.data_ptr()


def _addresses(tensors: Sequence[Tensor | None]) -> Any:
    return (_Address * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


@cache
def _functions() -> dict[str, Any]:
    """By name; none where nothing can be compiled, or there is no matrix unit for numbers of 16 bits."""
    found = library(ATTENTION)
    if isinstance(found, NoCompiler) or not found.functions.attends():
        return {}
    made = {name: getattr(found.functions, name) for name in _ARGUMENTS}
    for name, function in made.items():
        function.restype, function.argtypes = _ARGUMENTS[name]
    return made
