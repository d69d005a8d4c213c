"""How a gate block convolves: the interface of engines, and the one that is the oracle of all others.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.cells.compiled.kernels import channels_last, in_memory
from stkit.cells.convolution import same_convolution
from stkit.cells.gatewise import Gatewise, gatewise
from stkit.cells.onednn import Packed, convolved, packed, packs, undisturbed

if TYPE_CHECKING:
    from stkit.cells.gates import GateBlock

Pieces = Callable[[bool], AbstractContextManager[None]]
"""Makes the context of a piece of a sequence; True: the piece is computed again."""
Parts = dict[str, tuple[Tensor, ...]]
"""For each source of a block a kernel for each of its tensors, ``C_out C_in *k``."""
Inputs = Mapping[str, tuple[Tensor, ...]]


class Engine:
    """Computes a block's gate pre-activations from its sources.

    An engine sees a whole block at once: which gates each source feeds (``block.sources``), the kernels
    (``block.kernels``), biases and norms. So it may sum the sources before it leaves a transformed domain. The tensors
    of a source come as they are, not concatenated, and a state is one and the same tensor object in every block that
    reads it: an engine may transform each tensor once and find it again. :meth:`sequence` is the span over which the
    weights are constant: what depends on weights alone is computed once in it.
    """

    name: str
    """What recipes call it."""
    adds_bias: bool = False
    """Whether what it gives has the gates' own biases in it."""

    def sequence(self) -> AbstractContextManager[None]:
        """Entered by a rollout before its first step and left after its last."""
        return nullcontext()

    def pieces(self, *, keep_weights: bool = True) -> Pieces:
        """Called within a sequence: what to enter around each piece of it that keeps its inputs only.

        It is entered with False in the forward pass, and with True where the piece is computed again, in the backward
        pass, after the sequence has ended. What was found of the piece's tensors must not outlive the piece.

        Args:
            keep_weights: what depends on weights alone may be kept from the forward pass on; otherwise it is computed
                in every piece, for memory.
        """
        return lambda again: nullcontext()

    def __call__(self, block: GateBlock, inputs: Mapping[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        """One pre-activation ``B width *grid`` for each gate of ``block``, with its own bias if ``adds_bias``."""
        raise NotImplementedError


@contextmanager
def entered(contexts: Sequence[Callable[[], AbstractContextManager[None]]]) -> Iterator[None]:
    """All of them, one inside the other."""
    # Not an ExitStack: torch.compile cannot look into that.
    if not contexts:
        yield
        return
    with contexts[0](), entered(contexts[1:]):
        yield


def together(*pieces: Pieces) -> Pieces:
    """Pieces of a sequence for several engines."""
    return lambda again: entered([partial(piece, again) for piece in pieces])


class OfSequences(Engine):
    """An engine that keeps something for as long as a sequence lasts. Sequences may lie inside each other.

    A copy of it, as of a model, takes nothing of a sequence along.
    """

    def __init__(self) -> None:
        self._inside = 0
        """Sequences, and pieces of them, that are entered and not left."""
        self._own: dict[GateBlock, tuple[Any, Any]] = {}
        """What depends on weights alone: of this sequence, whose graph it belongs to."""
        self._keep_weights, self._piecewise = True, False

    def __deepcopy__(self, memo: dict[int, Any]) -> OfSequences:
        made = type(self).__new__(type(self))
        made.__setstate__(self.__getstate__())
        return made

    def __getstate__(self) -> dict[str, Any]:
        """What it was made with."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state)

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
                self._forget()

    def pieces(self, *, keep_weights: bool = True) -> Pieces:
        """See :meth:`Engine.pieces`."""
        own = self._own

        @contextmanager
        def piece(again: bool) -> Iterator[None]:
            before = self._inside, self._own, self._keep_weights, self._piecewise
            self._inside, self._own, self._keep_weights, self._piecewise = self._inside + 1, own, keep_weights, True
            self._forget_tensors()
            try:
                yield
            finally:
                self._inside, self._own, self._keep_weights, self._piecewise = before
                self._forget_tensors()

        return piece

    def _forget(self) -> None:
        """The outermost sequence has ended: drop what was kept for it."""
        self._own = {}
        self._forget_tensors()

    def _forget_tensors(self) -> None:
        """Drop what was found of tensors of the steps."""


class Direct(OfSequences):
    """One convolution for each tensor, over all the gates its source feeds; the source's norm; the sum gate by gate.

    Where oneDNN convolves, wide gates are convolved one by one, with kernels in its order; those of narrow ones are
    brought into it in forecasts. A kernel whose source is given as several tensors is else cut into theirs once a
    sequence.
    """

    name = "direct"

    def __init__(self) -> None:
        super().__init__()
        self._of_sequence: dict[GateBlock, tuple[Any, Gatewise | dict[str, list[Packed]] | None]] = {}

    def _forget(self) -> None:
        super()._forget()
        self._of_sequence = {}

    def __call__(self, block: GateBlock, inputs: Inputs) -> dict[str, Tensor]:
        """One pre-activation ``B width *grid`` for each gate of ``block``, without the gate's own bias."""
        prepared = self._prepared(block, inputs)
        if isinstance(prepared, Gatewise):
            return prepared(inputs)
        total: dict[str, Tensor] = {}
        responses = self._responses(block, inputs) if prepared is None else convolved(inputs, prepared)
        for (name, source), response in zip(block.sources.items(), responses, strict=True):
            response = block.norms[name](response)
            parts = (response,) if len(source.gates) == 1 else response.split(block.width, dim=1)
            for gate, part in zip(source.gates, parts, strict=True):
                total[gate] = total[gate] + part if gate in total else part
        return total

    def _responses(self, block: GateBlock, inputs: Inputs) -> Iterator[Tensor]:
        """``B C_out *grid`` of each source, one after the other."""
        if next(iter(inputs.values()))[0].device.type != "cpu":  # fewer launches
            inputs = {name: parts if len(parts) == 1 else (torch.cat(parts, dim=1),) for name, parts in inputs.items()}
        kernels = self._parts(block, {name: tuple(part.shape[1] for part in parts) for name, parts in inputs.items()})
        for name in block.sources:
            yield summed_convolution(inputs[name], kernels[name], block.bias_of(name))

    def _prepared(self, block: GateBlock, inputs: Inputs) -> Gatewise | dict[str, list[Packed]] | None:
        """Kernels in oneDNN's order, found again within a sequence; None: torch convolves with them as they are."""
        if not self._inside or self._piecewise:
            return None
        if next(iter(inputs.values()))[0].device.type != "cpu" or not (undisturbed() and packs()):
            return None
        in_graph = torch.is_grad_enabled()
        shapes = {name: [(part.shape, part.dtype, in_memory(part)) for part in parts] for name, parts in inputs.items()}
        parameters = (*block.kernels.values(), *block.biases.values())
        key = (in_graph, shapes, [(one.data_ptr(), _version(one), one.requires_grad) for one in parameters])
        known = self._of_sequence.get(block)
        if known is None or known[0] != key:
            made = gatewise(block, inputs) or (None if in_graph else packed(block, inputs))
            known = self._of_sequence[block] = (key, made)
        return known[1]

    def _parts(self, block: GateBlock, widths: dict[str, tuple[int, ...]]) -> Parts:
        """The kernels of each source's tensors, found again within a sequence."""
        whole = all(len(own) == 1 for own in widths.values())
        if whole or not (self._inside and self._keep_weights) or torch.compiler.is_compiling():
            return {name: _cut(block.kernels[name], own) for name, own in widths.items()}
        key = (torch.is_grad_enabled(), widths, [(part.data_ptr(), part._version) for part in block.kernels.values()])
        known: tuple[Any, Parts] | None = self._own.get(block)
        if known is None or known[0] != key:
            made = {name: _cut(block.kernels[name], own) for name, own in widths.items()}
            known = self._own[block] = (key, made)
        return known[1]


def _version(tensor: Tensor) -> int:
    """How often it has been changed, which is not counted of tensors that are for inference."""
    return 0 if tensor.is_inference() else tensor._version


def summed_convolution(parts: Sequence[Tensor], kernels: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    """The sum over a source's tensors, which are never kept side by side: less memory."""
    if kernels[0][0, 0].numel() == 1 and all(map(_channels_last, parts)) and not torch.compiler.is_compiling():
        # A product of matrices as they lie: torch's convolutions bring cells or kernels into another order first.
        cells = [part.movedim(1, -1) for part in parts]
        matrices = [kernel.flatten(1) for kernel in kernels]
        total: Tensor = F.linear(cells[0], matrices[0], bias).flatten(0, -2)
        for part, matrix in zip(cells[1:], matrices[1:], strict=True):
            total = torch.addmm(total, part.flatten(0, -2), matrix.t())
        return total.view(*cells[0].shape[:-1], -1).movedim(-1, 1)
    total = same_convolution(parts[0], kernels[0], bias)
    for part, kernel in zip(parts[1:], kernels[1:], strict=True):
        total = total + same_convolution(part, kernel, None)
    return total


def _channels_last(x: Tensor) -> bool:
    """Whether they lie so on a processor, and in no other order at the same time."""
    return x.is_cpu and not x.is_contiguous() and channels_last(x)


def _cut(kernel: Tensor, channels: tuple[int, ...]) -> tuple[Tensor, ...]:
    """``C_out C_1+C_2+.. *k -> C_out C_1 *k, C_out C_2 *k, ...``, each in one piece of memory."""
    if len(channels) == 1:  # without a copy, forward and of the gradient
        return (kernel,)
    return tuple(part.contiguous() for part in torch.split(kernel, list(channels), dim=1))


class LeavingSome(OfSequences):
    """An engine that leaves some blocks to a :class:`Direct` of its own, which keeps their kernels for a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.direct = Direct()

    @contextmanager
    def _span(self) -> Iterator[None]:
        with self.direct.sequence(), super()._span():
            yield

    def pieces(self, *, keep_weights: bool = True) -> Pieces:
        """See :meth:`Engine.pieces`."""
        return together(super().pieces(keep_weights=keep_weights), self.direct.pieces(keep_weights=keep_weights))


DIRECT = Direct()
"""The engine every block starts with."""
