"""Gate arithmetic in C, in one pass over memory each way: what :mod:`stkit.cells.squash` computes, and peepholes."""

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
    _functions().gate_value(*given, a.numel(), _numbers(tuple(functions)), bias, torch.get_num_threads())
    return made


def gradients(
    gradient: Tensor, a: Tensor, b: Tensor, c: Tensor | None, d: Tensor | None, functions: Sequence[int], bias: float
) -> tuple[Tensor, ...]:
    """See :func:`stkit.cells.squash.gradients`."""
    made = [empty_field_like(a) if part is not None else None for part in (a, b, d, d)]
    given = (_address(part) for part in (gradient, a, b, c, d, *made))
    _functions().gate_slopes(*given, a.numel(), _numbers(tuple(functions)), bias, torch.get_num_threads())
    return tuple(a.new_empty(0) if part is None else part for part in made)


def peephole(gate: Tensor, weight: Tensor, memory: Tensor) -> Tensor:
    """``gate + weight . memory``.

    Args:
        gate: of the shape of the memory, and as that in memory.
        weight: as often as they are needed the same, in the order of the memory.
        memory: what the gate looks at.
    """
    made = empty_field_like(gate)
    given = (part.data_ptr() for part in (gate, weight, memory, made))
    _functions().peephole_value(*given, gate.numel(), weight.numel(), torch.get_num_threads())
    return made


def peephole_gradients(gradient: Tensor, weight: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the weight and of the memory, given that of the gate. See :func:`peephole`."""
    of_memory, of_weight = empty_field_like(memory), torch.empty_like(weight)
    given = (part.data_ptr() for part in (gradient, weight, memory, of_memory, of_weight))
    _functions().peephole_slopes(*given, memory.numel(), weight.numel(), torch.get_num_threads())
    return of_weight, of_memory


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@cache
def _numbers(functions: tuple[int, ...]) -> Any:
    return (ctypes.c_int * len(functions))(*functions)


@cache
def _functions() -> Any:
    found = library()
    if isinstance(found, NoCompiler):
        raise found
    address, count, threads = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
    for name, arguments in {
        "gate_value": (*[address] * 5, count, address, ctypes.c_float, threads),
        "gate_slopes": (*[address] * 9, count, address, ctypes.c_float, threads),
        "peephole_value": (*[address] * 4, count, count, threads),
        "peephole_slopes": (*[address] * 5, count, count, threads),
    }.items():
        function = getattr(found.functions, name)
        function.argtypes, function.restype = arguments, None
    return found.functions
