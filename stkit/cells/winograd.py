"""An engine that convolves in Winograd's transformed domain, for a processor in float32 or float64.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width, ``A`` places in a tile, ``N`` tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakIdKeyDictionary

from stkit.cells.engine import DIRECT, Engine, Pieces
from stkit.cells.tiles import Tiles, tiles

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock

SIDES = (3, 5)
"""Kernels that it takes."""
OUTPUT = 4
"""Side of a tile's output, in cells."""
TYPES = (torch.float32, torch.float64)

LEAST_WIDTH = 32
"""Channels of a gate from which on it pays."""
LEAST_PRODUCT = 4096
"""Channels of a gate times tiles of a batch from which on it pays."""

Inputs = Mapping[str, tuple[Tensor, ...]]


class Winograd(Engine):
    """A tensor is transformed once for all blocks that read it, a kernel once a sequence; sources are summed there.

    Blocks whose kernels are not square with a side of :data:`SIDES`, and tensors that are not on a processor in
    float32 or float64, are left to :class:`stkit.cells.Direct`; so is everything under autocast, ``torch.compile``
    and ``torch.export``. The gates come channels last in memory. Gradients are those of first order.

    In float32 its outputs differ from those of the direct convolution by a few times the rounding of that.

    Args:
        where_it_pays: leave small blocks to the direct convolution as well: gates of fewer than :data:`LEAST_WIDTH`
            channels, and batches of so few tiles that channels times tiles are below :data:`LEAST_PRODUCT`.
    """

    def __init__(self, *, where_it_pays: bool = False) -> None:
        self.where_it_pays = where_it_pays
        self.name = "auto" if where_it_pays else "winograd"
        self._inside = 0
        self._signals = WeakIdKeyDictionary()
        self._groups: WeakKeyDictionary[GateBlock, tuple[Any, list[_Group]]] = WeakKeyDictionary()
        self._own: dict[GateBlock, tuple[Any, list[_Group]]] = {}  # of this sequence, whose graph they belong to
        self._keep_weights = True

    def __deepcopy__(self, memo: dict[int, Any]) -> Winograd:
        return Winograd(where_it_pays=self.where_it_pays)  # a copy of a model takes nothing of a sequence along

    def __getstate__(self) -> dict[str, Any]:
        return {"where_it_pays": self.where_it_pays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Winograd.__init__(self, **state)

    def sequence(self) -> AbstractContextManager[None]:
        """See :meth:`Engine.sequence`."""
        return nullcontext() if torch.compiler.is_compiling() else self._span()

    @contextmanager
    def _span(self) -> Iterator[None]:
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._signals.clear()
                self._own = {}

    def pieces(self, *, keep_weights: bool = True) -> Pieces:
        """See :meth:`Engine.pieces`."""
        own = self._own

        @contextmanager
        def piece(again: bool) -> Iterator[None]:
            before = self._inside, self._own, self._keep_weights
            self._inside, self._own, self._keep_weights = self._inside + 1, own, keep_weights
            self._signals.clear()
            try:
                yield
            finally:
                self._inside, self._own, self._keep_weights = before
                self._signals.clear()

        return piece

    def __call__(self, block: GateBlock, inputs: Inputs) -> dict[str, Tensor]:
        """One pre-activation ``B width H W`` for each gate of ``block``, without the gate's own bias."""
        if not self.takes(block, inputs):
            return DIRECT(block, inputs)
        own = _tiles_of(block)
        signals = {name: [self._signal(part, own) for part in parts] for name, parts in inputs.items()}
        batch, _, height, width = next(iter(inputs.values()))[0].shape
        total: dict[str, Tensor] = {}
        for group in self._groups_of(block, inputs, own):
            response = own.back(group.product(signals), batch, height, width)
            if group.bias is not None:
                response = response + group.bias[:, None, None]
            if group.norm is not None:
                response = group.norm(response)
            for gate, part in zip(group.gates, torch.split(response, block.width, dim=1), strict=True):
                total[gate] = total[gate] + part if gate in total else part
        return total

    def takes(self, block: GateBlock, inputs: Inputs) -> bool:
        """Whether it convolves these itself."""
        if not can_take(block) or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return False
        tensors = [part for parts in inputs.values() for part in parts]
        if any(part.device.type != "cpu" or part.dtype not in TYPES for part in tensors):
            return False
        if not self.where_it_pays:
            return True
        batch, _, height, width = tensors[0].shape
        down, across = _tiles_of(block).count(height, width)
        return block.width >= LEAST_WIDTH and block.width * batch * down * across >= LEAST_PRODUCT

    def _signal(self, signal: Tensor, own: Tiles) -> Tensor:
        """A tensor's tiles, found again within a sequence."""
        key = (own.r, torch.is_grad_enabled())
        known: tuple[Any, Tensor] | None = self._signals.get(signal) if self._inside else None  # type: ignore[no-untyped-call]
        if known is not None and known[0] == key:
            return known[1]
        made = own.forth(signal)
        if self._inside:
            self._signals[signal] = (key, made)
        return made

    def _groups_of(self, block: GateBlock, inputs: Inputs, own: Tiles) -> list[_Group]:
        """The block's kernels, transformed, found again while they are the same."""
        widths = {name: tuple(part.shape[1] for part in parts) for name, parts in inputs.items()}
        parameters = (*block.kernels.values(), *block.biases.values())
        in_graph = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters)
        key = (in_graph, widths, [(parameter.data_ptr(), parameter._version) for parameter in parameters])
        kept: MutableMapping[GateBlock, tuple[Any, list[_Group]]] = self._own if in_graph else self._groups
        known = kept.get(block)
        if known is not None and known[0] == key:
            return known[1]
        made = _groups(block, widths, own, in_graph=in_graph)
        if self._keep_weights and (self._inside or not in_graph):
            kept[block] = (key, made)
        return made


def can_take(block: GateBlock) -> bool:
    """Whether the block's kernels are of a size that has a transform."""
    sizes = next(iter(block.kernels.values())).shape[2:]
    return len(sizes) == 2 and sizes[0] == sizes[1] and sizes[0] in SIDES


@dataclass(eq=False)
class _Sum:
    """Where the gradient of a transformed kernel is added up, in place, over the steps of one backward pass."""

    total: Tensor | None = None
    task: int = -1

    def add(self, signal: Tensor, gradient: Tensor) -> None:
        task = torch._C._current_graph_task_id()
        if self.total is None or self.task != task:  # what a pass left that did not ask for this kernel is dropped
            self.total, self.task = torch.bmm(signal.transpose(1, 2), gradient), task
        else:
            self.total.baddbmm_(signal.transpose(1, 2), gradient)

    def take(self) -> Tensor | None:
        """The sum of this pass; empty from now on."""
        total = self.total if self.task == torch._C._current_graph_task_id() else None
        self.total = None
        return total


class _Kernel(NamedTuple):
    """A part of a source's kernel, transformed."""

    value: Tensor
    """``A C_in C_out``."""
    sum: _Sum


@dataclass
class _Group:
    """Gates that the same sources feed: these are summed before the way back."""

    gates: tuple[str, ...]
    in_graph: bool
    """Whether its kernels belong to the graph of one sequence."""
    kernels: dict[str, list[_Kernel]] = field(default_factory=dict)
    """For each source a kernel for each of its tensors."""
    bias: Tensor | None = None
    """``C_out``: the sources' own offsets."""
    norm: nn.Module | None = None
    """Of its only source, before the sum with others."""

    def product(self, signals: Mapping[str, list[Tensor]]) -> Tensor:
        """``A N C_out``: the sum over its sources, in the transformed domain."""
        sums: list[_Sum] = []
        operands: list[Tensor] = []
        for name, kernels in self.kernels.items():
            for signal, kernel in zip(signals[name], kernels, strict=True):
                sums.append(kernel.sum)
                operands += [signal, kernel.value]
        made: Tensor = _Product.apply(tuple(sums), *operands)
        return made


def _tiles_of(block: GateBlock) -> Tiles:
    return tiles(OUTPUT, next(iter(block.kernels.values())).shape[-1])


def _groups(block: GateBlock, widths: Mapping[str, tuple[int, ...]], own: Tiles, *, in_graph: bool) -> list[_Group]:
    """Without norms gates with the same sources go together; a norm needs the whole response of its source alone."""
    found: list[tuple[tuple[str, ...], tuple[str, ...], nn.Module | None]]
    if all(isinstance(norm, nn.Identity) for norm in block.norms.values()):
        fed: dict[tuple[str, ...], list[str]] = {}
        for gate in block.gates:
            names = tuple(name for name, source in block.sources.items() if gate in source.gates)
            fed.setdefault(names, []).append(gate)
        found = [(tuple(gates), names, None) for names, gates in fed.items()]
    else:
        found = [(source.gates, (name,), block.norms[name]) for name, source in block.sources.items()]
    made = []
    for gates, names, norm in found:
        group = _Group(gates, in_graph, norm=norm)
        for name in names:
            kernel, bias = _of_gates(block, name, gates, block.kernels[name]), block.bias_of(name)
            group.kernels[name] = [_transform(part, own) for part in torch.split(kernel, list(widths[name]), dim=1)]
            if bias is not None:
                own_bias = _of_gates(block, name, gates, bias)
                group.bias = own_bias if group.bias is None else group.bias + own_bias
        made.append(group)
    return made


def _of_gates(block: GateBlock, name: str, gates: tuple[str, ...], values: Tensor) -> Tensor:
    """The rows of a source's kernel or bias that belong to some of the gates it feeds, in their order."""
    fed = block.sources[name].gates
    if gates == fed:
        return values
    rows = torch.split(values, block.width)
    return torch.cat([rows[fed.index(gate)] for gate in gates])


def _transform(kernel: Tensor, own: Tiles) -> _Kernel:
    total = _Sum()
    return _Kernel(_Transform.apply(kernel, own, total), total)


class _Transform(torch.autograd.Function):
    """A kernel's transform. Its gradient is in the sum that the products of all steps have added to."""

    @staticmethod
    def forward(ctx: Any, kernel: Tensor, own: Tiles, total: _Sum) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.tiles, ctx.sum = own, total
        return own.kernel(kernel)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: None) -> tuple[Tensor | None, None, None]:
        total = ctx.sum.take()
        return None if total is None else ctx.tiles.kernel_gradient(total), None, None


class _Product(torch.autograd.Function):
    """``sum_k signal_k kernel_k`` at each place: ``A N C_k``, ``A C_k C_out`` -> ``A N C_out``."""

    @staticmethod
    def forward(ctx: Any, sums: tuple[_Sum, ...], *operands: Tensor) -> Tensor:
        ctx.sums = sums
        ctx.save_for_backward(*operands)
        product = torch.bmm(operands[0], operands[1])
        for signal, kernel in zip(operands[2::2], operands[3::2], strict=True):
            product.baddbmm_(signal, kernel)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        operands: tuple[Tensor, ...] = ctx.saved_tensors
        found: list[Tensor | None] = [None]
        for place, total in enumerate(ctx.sums):
            signal, kernel = operands[2 * place : 2 * place + 2]
            signal_wanted, kernel_wanted = ctx.needs_input_grad[1 + 2 * place : 3 + 2 * place]
            if kernel_wanted:
                total.add(signal, gradient)
            found += [torch.bmm(gradient, kernel.transpose(1, 2)) if signal_wanted else None, None]
        return tuple(found)
