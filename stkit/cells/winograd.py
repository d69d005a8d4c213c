"""An engine that convolves in Winograd's transformed domain, for a processor in float32 or float64.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width, ``A`` places in a tile, ``N`` tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.cells.compiled.group import CompiledGroup, Room
from stkit.cells.compiled.kernels import Kernels, Lent, in_memory, kernels, library_for
from stkit.cells.engine import LeavingSome
from stkit.cells.tiles import OUTPUT, SIDES, Tiles, tiles
from stkit.cells.transformed import Group, OperatorGroup

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock

TYPES = (torch.float32, torch.float64)

LEAST = {"compiled": {3: (16, 1024), 5: (16, 512)}, "by operators": {3: (64, 4096), 5: (32, 1024)}}
"""By the side of the kernel: the channels of a gate, and these times the tiles of a batch, from which on it pays."""

AT_ONCE = 2**24
"""Bytes of transformed kernels that are there at a time where they are not kept, unless those of one gate are more."""

Inputs = Mapping[str, tuple[Tensor, ...]]


class Winograd(LeavingSome):
    """A tensor is transformed once for all blocks that read it, a kernel once a sequence; sources are summed there.

    Blocks whose kernels are not square with a side of 3 or 5, and tensors that are not on a processor in float32 or
    float64, are left to :class:`stkit.cells.Direct`; so are fake tensors, and everything under autocast,
    ``torch.compile`` and ``torch.export``. The gates come channels last in memory. Gradients are those of first order.

    In float32 its outputs differ from those of the direct convolution by a few times the rounding of that.

    Args:
        where_it_pays: leave small blocks to the direct convolution as well, those below :data:`LEAST`.
    """

    def __init__(self, *, where_it_pays: bool = False) -> None:
        self.where_it_pays = where_it_pays
        self.name = "auto" if where_it_pays else "winograd"
        super().__init__()
        self._signals = WeakIdKeyDictionary()
        self._groups: WeakKeyDictionary[GateBlock, tuple[Any, list[Group]]] = WeakKeyDictionary()
        self._free: dict[int, list[Tensor]] = {}  # memory for signals that are compiled, by its size
        self._room = Room()  # for kernels of a sequence that are not kept
        self._called: set[GateBlock] = set()
        self._step = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"where_it_pays": self.where_it_pays}

    def _forget(self) -> None:
        super()._forget()
        self._free, self._room = {}, Room()
        self._called = set()

    def _forget_tensors(self) -> None:
        self._signals.clear()

    def __call__(self, block: GateBlock, inputs: Inputs) -> dict[str, Tensor]:
        """One pre-activation ``B width H W`` for each gate of ``block``, without the gate's own bias."""
        if not self.takes(block, inputs):
            return self.direct(block, inputs)
        own = _tiles_of(block)
        compiled = _compiled(inputs, own)
        self._begin(block)
        signals = {name: [self._signal(part, own, compiled) for part in parts] for name, parts in inputs.items()}
        total: dict[str, Tensor] = {}
        for group in self._groups_of(block, inputs, own, compiled):
            responses = group.respond(inputs, signals, block.width)
            if group.norm is not None:
                responses = group.norm(responses[0]).split(block.width, dim=1)
            for gate, part in zip(group.gates, responses, strict=True):
                total[gate] = total[gate] + part if gate in total else part
        return total

    def takes(self, block: GateBlock, inputs: Inputs) -> bool:
        """Whether it convolves these itself."""
        if not can_take(block) or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return False
        tensors = [part for parts in inputs.values() for part in parts]
        if not all(in_memory(part) and part.dtype in TYPES for part in tensors):
            return False
        if not self.where_it_pays:
            return True
        batch, _, *planes, height, width = tensors[0].shape
        return pays(block, math.prod((batch, *planes, *_tiles_of(block).count(height, width))))

    def _begin(self, block: GateBlock) -> None:
        """A block that is called again begins a step: what none has read since the one before last is let go."""
        if block not in self._called:
            self._called.add(block)
            return
        self._called = {block}
        self._step += 1
        for signal, (_, _, step) in list(self._signals.items()):  # type: ignore[no-untyped-call]
            if step < self._step - 1:
                del self._signals[signal]

    def _signal(self, signal: Tensor, own: Tiles, compiled: Kernels | None) -> Tensor | Lent:
        """A tensor's tiles, found again within a sequence."""
        key = (own.r, torch.is_grad_enabled() and compiled is None)
        known: tuple[Any, Tensor | Lent, int] | None = self._signals.get(signal) if self._inside else None  # type: ignore[no-untyped-call]
        made = known[1] if known is not None and known[0] == key else self._transformed(signal, own, compiled)
        if self._inside:
            self._signals[signal] = (key, made, self._step)
        return made

    def _transformed(self, signal: Tensor, own: Tiles, compiled: Kernels | None) -> Tensor | Lent:
        if compiled is None:
            return own.forth(signal)
        return compiled.lend(signal.detach(), self._free if self._inside else {})

    def _groups_of(self, block: GateBlock, inputs: Inputs, own: Tiles, compiled: Kernels | None) -> list[Group]:
        """The block's kernels, transformed, found again while they are the same."""
        widths = {name: tuple(part.shape[1] for part in parts) for name, parts in inputs.items()}
        parameters = (*block.kernels.values(), *block.biases.values())
        in_graph = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters)
        key = (in_graph, widths, [(parameter.data_ptr(), parameter._version) for parameter in parameters])
        kept: MutableMapping[GateBlock, tuple[Any, list[Group]]] = self._own if in_graph else self._groups
        known = kept.get(block)
        if known is not None and known[0] == key:
            return known[1]
        kind = (
            partial(OperatorGroup, sparing=self._piecewise)
            if compiled is None
            else partial(CompiledGroup, room=self._room)
        )
        self._groups.pop(block, None)  # in training, those of the last forecast: its weights will change
        made = _groups(block, widths, own, kind, in_graph, self._keep_weights)
        if self._inside if in_graph else self._keep_weights:
            kept[block] = (key, made)
        return made


def can_take(block: GateBlock) -> bool:
    """Whether the block's kernels are of a size that has a transform."""
    sizes = next(iter(block.kernels.values())).shape[2:]
    return sizes[-1] == sizes[-2] and sizes[-1] in SIDES


def pays(block: GateBlock, tiles: int) -> bool:
    """Whether a block that it takes is convolved faster so, in batches of so many tiles."""
    form = "by operators" if isinstance(library(), NoCompiler) else "compiled"
    width, product = LEAST[form][next(iter(block.kernels.values())).shape[-1]]
    return block.width >= width and block.width * tiles >= product


def _tiles_of(block: GateBlock) -> Tiles:
    return tiles(OUTPUT, next(iter(block.kernels.values())).shape[-1])


def _compiled(inputs: Inputs, own: Tiles) -> Kernels | None:
    """The compiled functions for these, where there are any."""
    dtype = next(iter(inputs.values()))[0].dtype
    return None if isinstance(library_for(own.r, dtype), NoCompiler) else kernels(own.r, dtype)


def _groups(
    block: GateBlock,
    widths: Mapping[str, tuple[int, ...]],
    own: Tiles,
    kind: Callable[..., Group],
    in_graph: bool,
    keep: bool,
) -> list[Group]:
    """Without norms gates with the same sources go together; a norm needs the whole response of its source alone.

    Where transformed kernels are not kept, a group has only so many gates that their kernels are within
    :data:`AT_ONCE`.
    """
    found: list[tuple[tuple[str, ...], tuple[str, ...], nn.Module | None]] = []
    if all(isinstance(norm, nn.Identity) for norm in block.norms.values()):
        fed: dict[tuple[str, ...], list[str]] = {}
        for gate in block.gates:
            names = tuple(name for name, source in block.sources.items() if gate in source.gates)
            fed.setdefault(names, []).append(gate)
        for names, alike in fed.items():
            size = sum(_transformed_bytes(block, name, own) for name in names)
            together = len(alike) if keep else max(1, AT_ONCE // size)
            found += [(tuple(alike[first:][:together]), names, None) for first in range(0, len(alike), together)]
    else:
        found = [(source.gates, (name,), block.norms[name]) for name, source in block.sources.items()]
    groups = {name: [gates for gates, names, _ in found if name in names] for name in block.sources}
    kernels = {name: _of_groups(block, name, groups[name], block.kernels[name]) for name in block.sources}
    offsets = {name: bias for name in block.sources if (bias := block.bias_of(name)) is not None}
    biases = {name: _of_groups(block, name, groups[name], bias) for name, bias in offsets.items()}
    made = []
    for gates, names, norm in found:
        group = kind(gates, own, norm=norm)
        parts = {}
        for name in names:
            parts[name] = torch.split(kernels[name][gates], list(widths[name]), dim=1)
            if name in biases:
                own_bias = biases[name][gates]
                group.bias = own_bias if group.bias is None else group.bias + own_bias
        group.hang_on(parts, in_graph=in_graph, keep=keep)
        made.append(group)
    return made


def _transformed_bytes(block: GateBlock, name: str, own: Tiles) -> int:
    """Of one gate's kernel of a source."""
    kernel = block.kernels[name]
    size: int = block.width * kernel.shape[1] * math.prod(kernel.shape[2:-2]) * own.a**2 * kernel.element_size()
    return size


def _of_groups(
    block: GateBlock, name: str, groups: Sequence[tuple[str, ...]], values: Tensor
) -> dict[tuple[str, ...], Tensor]:
    """The rows of a source's kernel or bias that belong to each group of the gates it feeds.

    They are copied only where the source has a group's gates in another order.
    """
    if len(groups) == 1 and groups[0] == block.sources[name].gates:
        return {groups[0]: values}
    before = {gate: last for gates in groups for last, gate in pairwise((None, *gates))}
    runs: list[list[str]] = []
    for gate in block.sources[name].gates:
        if runs and before[gate] == runs[-1][-1]:
            runs[-1].append(gate)
        else:
            runs.append([gate])
    rows = torch.split(values, [len(run) * block.width for run in runs])
    by_first = {run[0]: own for run, own in zip(runs, rows, strict=True)}
    found = {gates: [by_first[gate] for gate in gates if gate in by_first] for gates in groups}
    return {gates: own[0] if len(own) == 1 else torch.cat(own) for gates, own in found.items()}
