"""CUDA graphs: a function of tensors is recorded once for each size of its arguments, and replayed by one launch.

A recurrent network launches thousands of small kernels a sequence, and at small batches the processor cannot launch
them as fast as a GPU runs them. A graph has them all. Its numbers are those of the kernels that it has recorded.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from stkit.cells import observe
from stkit.stacks.forecaster import Forecaster

LOG = logging.getLogger("stkit")
WARM = 2
"""Calls before the recording, in which libraries choose their algorithms and take their memory."""
MOST = 4
"""Graphs that are kept: each holds the memory of a whole call."""


@runtime_checkable
class Recorder(Protocol):
    """Makes a graph of a call without arguments."""

    def record(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """What ``run`` gives, in memory of its own, and what computes it anew into that memory."""


class CudaGraphs:
    """Records on the current GPU. All graphs share one pool of memory, as only one runs at a time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """See :class:`Recorder`.

        Raises:
            RuntimeError: ``run`` does what cannot be recorded, such as reading a tensor's value.
        """
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM):
                run()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with _alone(), torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            made = run()
        self._pool = graph.pool()
        return made, graph.replay


@contextmanager
def _alone() -> Iterator[None]:
    """Nothing else happens while a graph is recorded."""
    gc.collect()  # a graph that is destroyed in between would break the recording
    collecting = gc.isenabled()
    gc.disable()
    torch.clear_autocast_cache()  # weights that autocast has converted belong to the graph, or not to it
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        if collecting:
            gc.enable()


class _Recorded(NamedTuple):
    arguments: tuple[Tensor | None, ...]
    made: Any
    replay: Callable[[], None]


class Captured:
    """``function(*tensors)`` by graphs. What it gives is copied out of the graph's memory.

    The function reads its arguments and tensors that stay where they are, such as parameters, which may change in
    place between calls. It has no other effect than on such tensors, and none on the processor's side.

    Args:
        function: of tensors, or None for those that are not there; gives tensors in tuples, lists or dictionaries.
        recorder: makes the graphs; None: CUDA's.
        setting: called before a recording, which calls the function a few times; it gives what puts back the tensors
            that the function changes, and is called after the recording, whether that has succeeded or not.

    Attributes:
        seconds: what recording has taken, all sizes together.
        sizes: how many sizes of arguments were recorded; further ones than :data:`MOST` are computed without a graph.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        recorder: Recorder | None = None,
        *,
        setting: Callable[[], Callable[[], None]] | None = None,
    ) -> None:
        self.function = function
        self._setting = setting
        self.seconds = 0.0
        self._recorder: Recorder = CudaGraphs() if recorder is None else recorder
        self._recorded: dict[Any, _Recorded] = {}

    @property
    def sizes(self) -> int:
        """See above."""
        return len(self._recorded)

    def __call__(self, *arguments: Tensor | None) -> Any:
        """What ``function`` gives.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        key = (
            torch.is_grad_enabled(),
            *(torch.get_autocast_dtype(x) if torch.is_autocast_enabled(x) else None for x in ("cuda", "cpu")),
            tuple(None if x is None else (x.shape, x.dtype, x.device) for x in arguments),
        )
        found = self._recorded.get(key)
        if found is None:
            if self.sizes >= MOST:
                return self.function(*arguments)
            found = self._recorded[key] = self._record(arguments)
        for own, given in zip(found.arguments, arguments, strict=True):
            if own is not None and given is not None:
                own.copy_(given)
        found.replay()
        return tree_map(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, found.made)

    def _record(self, arguments: tuple[Tensor | None, ...]) -> _Recorded:
        start = time.perf_counter()
        own = tuple(None if x is None else x.detach().clone() for x in arguments)
        put_back = None if self._setting is None else self._setting()
        try:
            made, replay = self._recorder.record(lambda: self.function(*own))
        finally:
            if put_back is not None:
                put_back()
        self.seconds += time.perf_counter() - start
        return _Recorded(own, made, replay)


class Forecasts:
    """A forecaster's forecasts by graphs, one for each size of context and horizon.

    .. code-block:: python

        fast = Forecasts(forecaster.cuda())
        forecast = fast(context, horizon=10)

    What cannot be recorded is computed without a graph, after one line in the log; so is everything on a processor, and
    while somebody watches the cells (:mod:`stkit.cells.observe`).

    Args:
        forecaster: it stays where it is; its weights may change in place.
        recorder: as for :class:`Captured`; one that is given records on any device.
        at_once: record a size when it is first asked for; otherwise when it is asked for again.
    """

    def __init__(self, forecaster: Forecaster, recorder: Recorder | None = None, *, at_once: bool = True) -> None:
        self.forecaster = forecaster
        self.reason: str | None = None
        """Why no graphs are recorded any more; None: they are."""
        self._recorder: Recorder = CudaGraphs() if recorder is None else recorder
        self._anywhere = recorder is not None
        self._at_once = at_once
        self._seen: set[Any] = set()
        self._by_horizon: dict[int, Captured] = {}

    @property
    def seconds(self) -> float:
        """What recording has taken."""
        return sum(captured.seconds for captured in self._by_horizon.values())

    @torch.no_grad()
    def __call__(
        self,
        context: Tensor,
        horizon: int,
        *,
        known: Tensor | None = None,
        base: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`stkit.stacks.Forecaster.forward`, without a gradient."""
        forecast: Tensor
        if self.reason is None and not observe.watched() and self._wanted(context, horizon):
            try:
                forecast = self._captured(horizon)(context, known, base, valid)
            except RuntimeError as error:
                self.reason = str(error).partition("\n")[0]
                LOG.warning("forecasts go on without CUDA graphs: %s", self.reason)
            else:
                return forecast
        forecast = self.forecaster(context, horizon, known=known, base=base, valid=valid)
        return forecast

    def _wanted(self, context: Tensor, horizon: int) -> bool:
        if not (context.is_cuda or self._anywhere):
            return False
        size = (context.shape, horizon)
        wanted = self._at_once or size in self._seen
        self._seen.add(size)
        return wanted

    def _captured(self, horizon: int) -> Captured:
        if horizon not in self._by_horizon:

            def ahead(context: Tensor, known: Tensor | None, base: Tensor | None, valid: Tensor | None) -> Tensor:
                made: Tensor = self.forecaster(context, horizon, known=known, base=base, valid=valid)
                return made

            self._by_horizon[horizon] = Captured(ahead, self._recorder)
        return self._by_horizon[horizon]
