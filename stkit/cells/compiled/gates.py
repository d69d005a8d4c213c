"""Gate arithmetic in C: what :mod:`stkit.cells.squash` computes, in one pass over memory each way."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.cells.compiled.fields import empty_field_like
from stkit.cells.compiled.kernels import channels_last, in_memory


def fits(*tensors: Tensor | None) -> bool:
    """Whether it computes these: in float32 on a processor, dense, and in the same order in memory."""
    given = [tensor for tensor in tensors if tensor is not None]
    first, order = given[0], given[0].stride()
    if any(t.dtype != torch.float32 or not in_memory(t) or t.stride() != order for t in given):
        return False
    return (first.is_contiguous() or channels_last(first)) and not isinstance(library(), NoCompiler)


def value(a: Tensor, b: Tensor, c: Tensor | None, d: Tensor | None, functions: Sequence[int], bias: float) -> Tensor:
    """See :func:`stkit.cells.squash.value`."""
    made = empty_field_like(a)
    given = (_address(part) for part in (a, b, c, d, made))
    _functions()[0](*given, a.numel(), _numbers(tuple(functions)), bias, torch.get_num_threads())
    return made


def gradients(
    gradient: Tensor, a: Tensor, b: Tensor, c: Tensor | None, d: Tensor | None, functions: Sequence[int], bias: float
) -> tuple[Tensor, ...]:
    """See :func:`stkit.cells.squash.gradients`."""
    made = [empty_field_like(a) if part is not None else None for part in (a, b, d, d)]
    given = (_address(part) for part in (gradient, a, b, c, d, *made))
    _functions()[1](*given, a.numel(), _numbers(tuple(functions)), bias, torch.get_num_threads())
    return tuple(a.new_empty(0) if part is None else part for part in made)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@cache
def _numbers(functions: tuple[int, ...]) -> Any:
    return (ctypes.c_int * len(functions))(*functions)


@cache
def _functions() -> tuple[Any, Any]:
    found = library()
    if isinstance(found, NoCompiler):
        raise found
    both = found.functions.gate_value, found.functions.gate_slopes
    for function, tensors in zip(both, (5, 9), strict=True):
        address = ctypes.c_void_p
        function.argtypes = [*[address] * tensors, ctypes.c_long, address, ctypes.c_float, ctypes.c_int]
        function.restype = None
    return both
