"""The compiled functions on tensors.

Axes: ``B`` batch, ``C`` channels, ``P`` slices of a three-dimensional field, ``H`` height, ``W`` width. How signals,
packed kernels and sums lie in memory is said in :file:`layout.c`.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells.compiled.compiler import LANES, Library, NoCompiler, library, part_of
from stkit.cells.compiled.fields import empty_field
from stkit.cells.tiles import SCRATCH, SIDES

Shape = Sequence[int]
MADE_AT_ONCE = 4
"""Signals for which memory is asked together."""
LARGE_PAGE = 1 << 21
"""Bytes."""
TYPES = {torch.float32: "float", torch.float64: "double"}

_Long, _Address, _Int = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
_ARGUMENTS: dict[str, tuple[Any, list[Any]]] = {
    "signal": (_Long, [*[_Long] * 5, _Int]),
    "packed": (_Long, [_Long] * 2),
    "rows_of_slice": (_Long, [_Long] * 3),
    "rows_of_stack": (_Long, [_Long] * 3),
    "scratch": (_Long, []),
    "transform": (None, [_Address, _Address, *[_Long] * 7, _Int, _Int]),
    "blank": (None, [_Address, *[_Long] * 5, _Int]),
    "untransform": (None, [_Address, _Address, *[_Long] * 5, _Int, *[_Long] * 2, _Int, _Int]),
    "pack": (None, [_Address, _Address, *[_Long] * 6, _Address, _Int]),
    "unpack": (None, [_Address, _Address, *[_Long] * 5, _Int]),
    "respond": (None, [_Address, _Int, _Address, _Address, *[_Long] * 5, _Int, _Address, _Int]),
    "retrace": (None, [_Address, _Int, _Address, *[_Long] * 5, _Address, _Int]),
    "weigh": (None, [_Address, _Address, _Address, *[_Long] * 6, _Address, _Int]),
}


class _Term(ctypes.Structure):
    _fields_ = (("signal", _Address), ("kernel", _Address), ("blocks", _Long), ("shift", _Long))


class Term(NamedTuple):
    """One of the products that are summed."""

    signal: Tensor
    kernel: Tensor
    channels: int
    """Of the signal, those that fill up not counted: ``of`` groups of them."""
    of: int
    shift: int
    """Slices further on from which the signal is read."""


class Lent:
    """A tensor whose memory goes back to where it is from when nobody holds this any more."""

    def __init__(self, tensor: Tensor, home: list[Tensor]) -> None:
        self.tensor, self._home = tensor, home

    def __del__(self) -> None:
        self._home.append(self.tensor)


class Kernels:
    """The functions for one side of kernels and one type of numbers.

    Args:
        side: of the kernels, 3 or 5.
        dtype: float32 or float64.

    Raises:
        ValueError: for others, or where nothing could be compiled.
    """

    def __init__(self, side: int, dtype: torch.dtype) -> None:
        found = library_for(side, dtype)
        if isinstance(found, NoCompiler):
            raise ValueError(f"there are no compiled functions for kernels of {side} in {dtype}: {found}")
        self.side, self.dtype, self.columns = side, dtype, found.columns
        self._functions = {name: _function(found, name, dtype, side) for name in _ARGUMENTS}
        self._advise = found.functions.advise
        self._own = threading.local()

    def lend(self, field: Tensor, homes: dict[int, list[Tensor]]) -> Lent:
        """The tiles of a field, transformed, in memory that is used again: ``homes`` has what is free, by size."""
        size = self._size(field.shape[0], field.shape, field.shape[1], operand=True)
        home = homes.setdefault(size, [])
        if not home:
            home += torch.split(self.roomy(field, MADE_AT_ONCE * size), size)
        return Lent(self.transform([field], into=home.pop(), operand=True), home)

    def transform(self, fields: Sequence[Tensor], into: Tensor | str | None = None, *, operand: bool = False) -> Tensor:
        """The tiles of fields ``B C *grid`` whose batches follow each other, transformed.

        Args:
            fields: one or several.
            into: memory for the result, or name of a :meth:`scratch` for it; None: it is to stay.
            operand: it is for :meth:`respond`, not for :meth:`weigh`.
        """
        batch, shape = sum(field.shape[0] for field in fields), fields[0].shape
        made = self._signal(fields[0], batch, shape, shape[1], into, operand=operand)
        first = 0
        for field in fields:
            cells = field.contiguous(memory_format=_channels_last(shape))
            place = (field.shape[0], *_grid(shape), shape[1], batch, first)
            self._functions["transform"](cells.data_ptr(), made.data_ptr(), *place, operand, torch.get_num_threads())
            first += field.shape[0]
        return made

    def untransform(
        self, steps: Sequence[Sequence[Tensor | None]], shape: Shape, width: int, *, operand: bool = False
    ) -> Tensor:
        """The adjoint of the way back: gradients of gates ``B width *grid``, of several steps; None stands for zeros.

        The result is in a :meth:`scratch`; ``operand``: it is for :meth:`retrace`, not for :meth:`weigh`.
        """
        gates = len(steps[0])
        like = next(gate for gates in steps for gate in gates if gate is not None)
        batch = shape[0] * len(steps)
        made = self._signal(like, batch, shape, gates * -(-width // LANES) * LANES, "gradient", operand=operand)
        for step, given in enumerate(steps):
            layout = _channels_last(shape)
            cells = [None if gate is None else gate.contiguous(memory_format=layout) for gate in given]
            place = (*_grid(shape), width, gates, batch, step * shape[0])
            self._functions["untransform"](
                _addresses(cells), made.data_ptr(), shape[0], *place, operand, torch.get_num_threads()
            )
        return made

    def pack(self, kernel: Tensor, gates: int, *, turned: bool, into: Tensor | None = None) -> Tensor:
        """A kernel ``C_out C_in r r``, transformed: a matrix for each place, or the transposes of these.

        Args:
            kernel: of ``gates`` gates of the same width; dense in its last two axes.
            gates: how many.
            turned: transposed.
            into: memory for it, of at least :meth:`packed` numbers.
        """
        out, into_channels = kernel.shape[:2]
        width = out // gates
        made = self.roomy(kernel, self.packed(kernel.shape, gates)) if into is None else into
        forward, inward = kernel.stride()[:2]
        sizes = (gates, width, 1, into_channels, forward, inward)
        back = (1, into_channels, gates, width, inward, forward)
        self._functions["pack"](
            kernel.data_ptr(),
            made.data_ptr(),
            *(back if turned else sizes),
            self._memory(kernel).data_ptr(),
            torch.get_num_threads(),
        )
        return made

    def packed(self, shape: Shape, gates: int) -> int:
        """Numbers of a packed kernel, whichever way round."""
        out, into = gates * _filled(shape[0] // gates), _filled(shape[1])
        found: int = max(self._functions["packed"](out, into), self._functions["packed"](into, out))
        return found

    def respond(
        self, terms: Sequence[Term], shape: Shape, width: int, gates: int, offset: Tensor | None
    ) -> list[Tensor]:
        """The sum of products, and the way back: ``B width *grid`` for each gate, channels last in memory.

        Args:
            terms: signals and packed kernels.
            shape: of a field; its channels do not count.
            width: channels of a gate.
            gates: how many.
            offset: ``gates*width``, added.
        """
        like = terms[0].signal
        size = (shape[0], width, *shape[2:])
        made = [empty_field(size, self.dtype, channels_last=True) for _ in range(gates)]
        offset = None if offset is None else offset.contiguous()
        self._functions["respond"](
            _terms(terms),
            len(terms),
            _addresses(made),
            None if offset is None else offset.data_ptr(),
            shape[0],
            *_grid(shape),
            width,
            gates,
            self._memory(like).data_ptr(),
            torch.get_num_threads(),
        )
        return made

    def retrace(self, terms: Sequence[Term], shape: Shape) -> Tensor:
        """The gradient of a field, ``shape`` (``B C *grid``), from products of gradients with turned kernels."""
        like = terms[0].signal
        made = empty_field(shape, self.dtype, channels_last=True)
        self._functions["retrace"](
            _terms(terms),
            len(terms),
            made.data_ptr(),
            shape[0],
            *_grid(shape),
            shape[1],
            self._memory(like).data_ptr(),
            torch.get_num_threads(),
        )
        return made

    def no_sum(self, kernel: Tensor, gates: int) -> Tensor:
        """Zeros to which :meth:`weigh` adds the gradient of a kernel ``C_out C_in r r``."""
        out = _filled(gates * _filled(kernel.shape[0] // gates), self.columns)
        return kernel.new_zeros(out * kernel.shape[1] * self.side**2)

    def weigh(
        self,
        total: Tensor,
        signal: Tensor,
        gradient: Tensor,
        batch: int,
        shape: Shape,
        channels: int,
        width: int,
        gates: int,
        shift: int,
    ) -> None:
        """Add to a kernel's sum what a signal and a gradient of gates give, ``shift`` slices apart.

        Args:
            total: of :meth:`no_sum`.
            signal: of fields ``batch channels *grid``.
            gradient: of gates ``batch width *grid``.
            batch: of all steps together.
            shape: of a field.
            channels: of the signal.
            width: of a gate.
            gates: how many.
            shift: as in :class:`Term`.
        """
        planes, height, across = _grid(shape)
        rows = self._functions["rows_of_slice"](batch, height, across)
        stack = self._functions["rows_of_stack"](batch, height, across)
        first, last = max(0, -shift), planes - max(0, shift)
        if first >= last:
            return
        self._functions["weigh"](
            signal.data_ptr(),
            gradient.data_ptr(),
            total.data_ptr(),
            channels,
            gates * -(-width // LANES),
            (first + shift) * rows,
            first * rows,
            (last - first) * rows,
            stack,
            self._memory(signal).data_ptr(),
            torch.get_num_threads(),
        )

    def unpack(self, total: Tensor, kernel: Tensor, gates: int) -> None:
        """Write a sum into a gradient ``C_out C_in r r``, dense in its last two axes."""
        out, into = kernel.shape[:2]
        self._functions["unpack"](
            total.data_ptr(),
            kernel.data_ptr(),
            gates,
            out // gates,
            into,
            *kernel.stride()[:2],
            torch.get_num_threads(),
        )

    def roomy(self, like: Tensor, size: int) -> Tensor:
        """Memory for so many numbers, in large pages where the system has them."""
        each = like.element_size()
        if size * each < LARGE_PAGE // 2:
            return like.new_empty(size)
        made = like.new_empty(size + LARGE_PAGE // each)  # what is not used takes no memory
        made = made[-made.data_ptr() % LARGE_PAGE // each :][:size]
        self._advise(made.data_ptr(), size * each)  # only whole pages
        return made

    def scratch(self, name: str, like: Tensor, size: int) -> Tensor:
        """Memory for so many numbers or more, which stays as it is until this thread asks for that name again."""
        if size * like.element_size() > SCRATCH:
            return like.new_empty(size)
        known: dict[Any, Tensor] = self._own.__dict__
        key = (name, torch.is_inference_mode_enabled())
        if key not in known or known[key].numel() < size:
            known[key] = self.roomy(like, size)
        return known[key]

    def _signal(
        self, like: Tensor, batch: int, shape: Shape, channels: int, into: Tensor | str | None, *, operand: bool
    ) -> Tensor:
        size = self._size(batch, shape, channels, operand=operand)
        if into is None:
            into = like.new_empty(size)
        elif isinstance(into, str):
            into = self.scratch(into, like, size)
        if not operand:
            self._functions["blank"](into.data_ptr(), batch, *_grid(shape), channels, torch.get_num_threads())
        return into

    def _size(self, batch: int, shape: Shape, channels: int, *, operand: bool) -> int:
        found: int = self._functions["signal"](batch, *_grid(shape), channels, operand)
        return found

    def _memory(self, like: Tensor) -> Tensor:
        return self.scratch("sums", like, self._functions["scratch"]() * torch.get_num_threads())


def in_memory(tensor: Tensor) -> bool:
    """Whether its numbers lie in the memory of the processor: those of a fake tensor do not."""
    return tensor.is_cpu and type(tensor) in (Tensor, nn.Parameter, nn.Buffer)


def channels_last(field: Tensor) -> bool:
    """Whether the channels ``B C *grid`` of a cell lie side by side, and those of the next one after them."""
    return field.ndim in (4, 5) and field.is_contiguous(memory_format=_channels_last(field.shape))


def library_for(side: int, dtype: torch.dtype) -> Library | NoCompiler:
    """The compiled functions for one side of kernels and one type of numbers, or why there are none."""
    if side not in SIDES or dtype not in TYPES:
        return NoCompiler("these are not among those that are compiled")
    return library(part_of(side, TYPES[dtype]))


@cache
def kernels(side: int, dtype: torch.dtype) -> Kernels:
    """One :class:`Kernels` for each side and type."""
    return Kernels(side, dtype)


def _function(found: Library, name: str, dtype: torch.dtype, side: int) -> Any:
    function = getattr(found.functions, f"{name}_{TYPES[dtype]}_{side}")
    function.restype, function.argtypes = _ARGUMENTS[name]
    return function


def _grid(shape: Shape) -> tuple[int, int, int]:
    """Slices, height and width of a field ``B C *grid``."""
    return shape[2] if len(shape) == 5 else 1, shape[-2], shape[-1]


def _channels_last(shape: Shape) -> torch.memory_format:
    """The layout of fields ``B C *grid``."""
    return torch.channels_last_3d if len(shape) == 5 else torch.channels_last


def _filled(channels: int, whole: int = LANES) -> int:
    return -(-channels // whole) * whole


def _addresses(tensors: Sequence[Tensor | None]) -> Any:
    return (_Address * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


def _terms(terms: Sequence[Term]) -> Any:
    made = (
        _Term(term.signal.data_ptr(), term.kernel.data_ptr(), term.of * -(-term.channels // LANES), term.shift)
        for term in terms
    )
    return (_Term * len(terms))(*made)
