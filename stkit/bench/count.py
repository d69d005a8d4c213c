"""What a model does, counted: operations that start a computation, and floating-point operations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from stkit.stacks.engine import set_engine

if TYPE_CHECKING:
    from stkit.stacks.forecaster import Forecaster


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that reach a device: all that are no view of what they are given.

    On a GPU that is about the number of kernels that are started.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not _only_looks(func)
        return func(*args, **(kwargs or {}))


def launches(run: Callable[[], Any]) -> int:
    """How many operations that are no views ``run`` takes."""
    with Launches() as counter:
        run()
    found: int = counter.count
    return found


def step_flops(forecaster: Forecaster, frames: torch.Tensor, context: int, known: torch.Tensor | None) -> int:
    """Floating-point operations of a rollout and its gradient with direct convolutions, whatever the engine.

    Counted on the meta device, where nothing is computed. Only products of matrices and convolutions count.

    Args:
        forecaster: a copy of it is used.
        frames: of a batch, ``B T C H W``; its shape is what matters.
        context: frames of the context.
        known: ``B T K H W``.
    """
    model = copy.deepcopy(forecaster).to("meta")
    set_engine(model, "direct")
    with FlopCounterMode(display=False) as counter:
        out = model.rollout(frames.to("meta"), context, known=None if known is None else known.to("meta"))
        torch.autograd.backward(out.predictions.sum())
    found: int = counter.get_total_flops()
    return found


def _only_looks(func: Any) -> bool:
    """Whether an operation gives a view, and changes nothing."""
    schema = func._schema
    given = [argument.alias_info for argument in schema.arguments if argument.alias_info is not None]
    if any(info.is_write for info in given):
        return False
    return any(result.alias_info is not None for result in schema.returns)
