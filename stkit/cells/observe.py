"""Seeing inside: cells show what happens in them to whoever looks, and pay nothing while nobody does.

A gate or an attention is no part of a cell's interface, and keeping all of them would cost memory at every step of
every training. So a cell hands what may be of interest to a function of this module, which gives it back unchanged, and
only inside :func:`watch` an :class:`Observer` sees it. State, parameters and numbers are the same with and without.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width (in patches), ``K`` queries, ``S`` sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from stkit.stacks.stack import Stack, StackOut

Weights = Callable[[Tensor], Tensor]
"""For the cells ``K`` (int64, counted row by row) how they looked at all others: ``B K S H W``."""


@dataclass(frozen=True, slots=True)
class Attended:
    """What an attention did, to be asked for the weights of a few queries; the matrix of all of them is never made."""

    weights: Weights
    sources: tuple[str, ...]
    """What the queries looked at: the signal itself, a memory, past memories from the oldest to the newest. The weights
    of one query add up to 1 over all sources and cells, or to 0 where it may see nothing."""


class Observer:
    """Is shown what happens. Every method does nothing: override what is of interest.

    .. code-block:: python

        class Saturated(Observer):
            def gate(self, module, memory, kept):
                print(memory, ((kept < 0.1) | (kept > 0.9)).float().mean())

        with watch(Saturated()):
            forecaster(context, horizon=10)
    """

    def gate(self, module: nn.Module, memory: str, kept: Tensor) -> None:
        """``kept``, between 0 and 1: the share of ``memory`` that a forget gate in ``module`` keeps."""

    def signals(self, module: nn.Module, read: Tensor, made: Tensor) -> None:
        """``module`` read a changing signal and made one that is meant to be stationary; both ``B C *grid``."""

    def attention(self, module: nn.Module, attended: Attended) -> None:
        """``module`` let every cell of the grid look at others."""

    def step(self, stack: Stack, out: StackOut) -> None:
        """``stack`` has finished a step. What was shown since the last one belongs to this step."""


_observer: Observer | None = None
# A plain global, because torch.compile can guard on it: compiled code holds no trace of the functions below.


@contextmanager
def watch(observer: Observer) -> Iterator[None]:
    """Show ``observer`` what happens in all cells, as long as the context lasts. Not for several threads at once."""
    global _observer
    before, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = before


def repeated() -> AbstractContextManager[None]:
    """Called before something that happens twice: what to enter the second time, so that it is shown once."""
    return nullcontext() if _observer is None else watch(Observer())


def watched() -> bool:
    """Whether somebody looks."""
    return _observer is not None


def forget(module: nn.Module, memory: str, gate: Tensor, bias: float = 0.0) -> None:
    """Show a forget gate that is not there as a tensor: ``forget(self, "M", a["f"])`` beside ``gated.memory(...)``.

    Args:
        module: the cell, or the part of it that has the gate.
        memory: name of what it keeps, as in the equations.
        gate: its pre-activation.
        bias: added to ``gate``.
    """
    if _observer is not None:
        _observer.gate(module, memory, torch.sigmoid(gate + bias))


def gate(module: nn.Module, memory: str, kept: Tensor) -> Tensor:
    """Show a forget gate, and give it back: ``m = gate(self, "M", sigmoid(a["f"])) * m + ...``.

    Args:
        module: the cell, or the part of it that has the gate.
        memory: name of what it keeps, as in the equations.
        kept: its values, between 0 and 1.
    """
    if _observer is not None:
        _observer.gate(module, memory, kept)
    return kept


def signals(module: nn.Module, read: Tensor, made: Tensor) -> None:
    """Show what ``module`` read and what it made of it, where that is meant to be more stationary."""
    if _observer is not None:
        _observer.signals(module, read, made)


def attention(module: nn.Module, sources: Sequence[str], weights: Weights) -> None:
    """Show an attention: ``attention(self, ("signal",), lambda cells: self.weights(q[:, cells], k))``.

    Args:
        module: which one.
        sources: names of what it looks at, see :class:`Attended`.
        weights: computes the weights of some queries, when it is called.
    """
    if _observer is not None:
        _observer.attention(module, Attended(weights, tuple(sources)))


def step(stack: Stack, out: StackOut) -> None:
    """Show that ``stack`` has finished a step."""
    if _observer is not None:
        _observer.step(stack, out)
