"""Forward and backward pass of a part of a batch: launch by launch, or recorded once as a CUDA graph and replayed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from stkit.errors import UsageError
from stkit.stacks.captured import Captured, CudaGraphs, Recorder
from stkit.train.device import vector

LOG = logging.getLogger("stkit.train")

Asked = Literal["auto", "off", "on"]
_SCALARS = (bool, int, float, str, type(None))
Part = Mapping[str, Tensor]
Passes = Callable[[Part, Tensor | None, Tensor], Tensor]
"""``(part of a batch, tokens or None, factors of the loss's terms) -> sums of the terms``; adds to the gradients."""


def launched(accelerator: Accelerator, objective: nn.Module, names: Sequence[str]) -> Passes:
    """Passes launch by launch.

    Args:
        accelerator: of this process.
        objective: as Accelerate prepared it.
        names: of the loss's terms, in the order of their factors.
    """

    def passes(part: Part, tokens: Tensor | None, factors: Tensor) -> Tensor:
        terms = objective(part, tokens)
        sums = [terms[name][0] for name in names]
        accelerator.backward(sum(term * factor.to(term.dtype) for term, factor in zip(sums, factors, strict=True)))
        return vector(sums, accelerator.device)

    return passes


def obstacle(*, device: torch.device, processes: int, precision: str, recompute: str = "none") -> str | None:
    """Why a training cannot be recorded; None: it may be tried.

    Args:
        device: where the model is.
        processes: that train together.
        precision: as in the recipe.
        recompute: what the backward pass computes again, as in :mod:`stkit.stacks.recompute`.
    """
    if device.type != "cuda":
        return f"graphs are of NVIDIA's GPUs, and this is {device.type}"
    if processes > 1:
        return f"{processes} processes wait for each other inside a step"
    if precision == "fp16":
        return "fp16 looks at its gradients inside a step"
    if recompute != "none":
        return "what is computed again in the backward pass is not recorded"
    return None


class GraphedPasses:
    """Passes by graphs, one for each size of a part; launch by launch where that fails or is not asked for.

    Gradients stay where the graphs write them, so they are zeroed in place while :attr:`keeps_gradients`.

    A graph has what was computed when it was recorded: numbers that a module holds as Python values are part of it.
    Where such a value changes between steps, as a weight that falls may, training goes on without graphs.

    Args:
        passes: launch by launch.
        module: whose parameters get gradients.
        asked: as in the recipe: ``auto``, ``off`` or ``on``.
        reason: why it cannot be; None: it may be tried.
        recorder: makes the graphs; None: CUDA's.

    Raises:
        UsageError: graphs are insisted on and cannot be.
    """

    def __init__(
        self, passes: Passes, module: nn.Module, asked: Asked, reason: str | None, recorder: Recorder | None = None
    ) -> None:
        if asked == "on" and reason is not None:
            raise UsageError(f"train.graph: on cannot be, as {reason}; say auto or off")
        self._passes, self._module, self._asked = passes, module, asked
        self.reason = "it was not asked for" if asked == "off" else reason
        self._recorder: Recorder = CudaGraphs() if recorder is None else recorder
        self._captured: dict[tuple[str, ...], Captured] = {}
        self._recorded_with: list[Any] = []

    @property
    def keeps_gradients(self) -> bool:
        """Whether gradients must stay where they are in memory."""
        return any(captured.sizes for captured in self._captured.values())

    @property
    def told(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        if self.reason is not None:
            return {"asked": self._asked, "recorded": False, "because": self.reason}
        seconds = sum(captured.seconds for captured in self._captured.values())
        return {"asked": self._asked, "recorded": self.keeps_gradients, "seconds": round(seconds, 3)}

    def __call__(self, part: Part, tokens: Tensor | None, factors: Tensor) -> Tensor:
        """See :data:`Passes`.

        Raises:
            UsageError: graphs are insisted on and the step cannot be recorded.
        """
        if self.reason is None and self.keeps_gradients:
            self._compare_values()
        if self.reason is not None:
            return self._passes(part, tokens, factors)
        names = tuple(part)
        if names not in self._captured:
            self._captured[names] = Captured(
                lambda tokens, factors, *values: self._passes(dict(zip(names, values, strict=True)), tokens, factors),
                self._recorder,
                setting=self._as_before,
            )
        captured = self._captured[names]
        before = captured.sizes
        try:
            sums: Tensor = captured(tokens, factors, *part.values())
        except RuntimeError as error:
            told = str(error).partition("\n")[0]
            self._give_up(f"the step could not be recorded: {told}", error)
            return self._passes(part, tokens, factors)
        if captured.sizes > before:
            self._recorded_with = [value for _, value in _values(self._module)]
            LOG.info("train.graph: recorded a training step in %.1f s", captured.seconds)
        return sums

    def _compare_values(self) -> None:
        """Give up if a value is another one than when the graphs were recorded."""
        now = list(_values(self._module))
        if len(now) != len(self._recorded_with):
            self._give_up("the model's parts are others than when the step was recorded")
            return
        for (name, value), recorded in zip(now, self._recorded_with, strict=True):
            if value != recorded:
                self._give_up(
                    f"{name} was {recorded} when the step was recorded and is {value} now; a graph follows values that "
                    "change in a tensor, such as a buffer"
                )
                return

    def _give_up(self, reason: str, cause: BaseException | None = None) -> None:
        """No graphs from now on, after one line.

        Raises:
            UsageError: graphs are insisted on.
        """
        if self._asked == "on":
            raise UsageError(f"train.graph: on cannot be, {reason}") from cause
        self.reason = reason
        self._captured.clear()
        LOG.warning("train.graph: training goes on without a graph; %s", reason)

    def _as_before(self) -> Callable[[], None]:
        """Gradients as they are now, to be put back after a recording has added to them."""
        kept = [(p, None if p.grad is None else p.grad.clone()) for p in self._module.parameters() if p.requires_grad]

        def put_back() -> None:
            for parameter, gradient in kept:
                if parameter.grad is None:
                    continue
                if gradient is None:
                    parameter.grad.zero_()
                else:
                    parameter.grad.copy_(gradient)

        return put_back


def _values(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The Python values that a module and its parts hold, with names for people; of pairs and the like their parts."""
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, _SCALARS) or (
                isinstance(value, tuple) and all(isinstance(each, _SCALARS) for each in value)
            ):
                yield f"{type(part).__name__}.{name}", value
