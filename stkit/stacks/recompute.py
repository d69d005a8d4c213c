"""Training with less memory: what is not kept for the backward pass is computed a second time in it.

A *piece* of a rollout, one layer's step or a whole time step, keeps its inputs only. Its numbers, its random numbers
and its gradients are those of a piece that keeps everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, TypeVar, TypeVarTuple, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stkit.cells import elapsed, observe
from stkit.cells.attend import masked_keys
from stkit.cells.gates import pieces

Given = TypeVarTuple("Given")
Out = TypeVar("Out")

Level = Literal["none", "layer", "step", "everything"]
"""What is computed again: nothing; each layer's step; each time step; each layer's step, and what a sequence would keep
of the weights besides."""
LEVELS: tuple[Level, ...] = get_args(Level)


class _Pieces:
    """Runs the pieces of one rollout."""

    def __init__(self, level: Level, module: nn.Module, keys: Tensor | None) -> None:
        self.unit = "step" if level == "step" else "layer"
        self._module, self._keys = module, keys
        self._engines = pieces(module, keep_weights=level != "everything")

    def run(self, function: Callable[[*Given], Out], *arguments: *Given) -> Out:
        made: Out = checkpoint(function, *arguments, use_reentrant=False, context_fn=self._contexts)
        return made

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return self._engines(False), self._again(elapsed.steps(), observe.repeated())

    @contextmanager
    def _again(self, steps: int | None, unseen: AbstractContextManager[None]) -> Iterator[None]:
        """As it was in the forward pass, which has ended."""
        with self._engines(True), masked_keys(self._module, self._keys), elapsed.after(steps), unseen:
            yield


_pieces: _Pieces | None = None
# A plain global, because torch.compile can guard on it.


def recomputing(level: Level, module: nn.Module, keys: Tensor | None) -> AbstractContextManager[None]:
    """Within it pieces of that level are computed again; nothing is, where no gradient is asked for.

    Args:
        level: what is computed again.
        module: whose rollout it is.
        keys: what attention may look at in it, ``B h w`` in patches; None: everything.
    """
    if level == "none" or not torch.is_grad_enabled():
        return nullcontext()
    return _set(_Pieces(level, module, keys))


@contextmanager
def _set(running: _Pieces) -> Iterator[None]:
    global _pieces
    before, _pieces = _pieces, running
    try:
        yield
    finally:
        _pieces = before


def layer(function: Callable[[*Given], Out], *arguments: *Given) -> Out:
    """Call a node's ``step``; a piece where layers are computed again."""
    if _pieces is None or _pieces.unit != "layer":
        return function(*arguments)
    return _pieces.run(function, *arguments)


def step(function: Callable[[*Given], Out], *arguments: *Given) -> Out:
    """Take a time step; a piece where time steps are computed again."""
    if _pieces is None or _pieces.unit != "step":
        return function(*arguments)
    return _pieces.run(function, *arguments)
