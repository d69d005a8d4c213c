"""The batches of a training in their order, prepared ahead: by worker processes where the recipe asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from stkit.data.stream import TrainStream


class Batches:
    """This process's share of each batch.

    While a step computes, a thread fetches the next batch: makes it, or takes it from the worker processes. One is
    fetched at a time, and :meth:`rest` waits for it, so that two threads never read the data at once.

    Args:
        stream: batches as a function of their number.
        count: how many there are in the whole training.
        workers: processes that prepare batches ahead; 0: the thread does it.
    """

    def __init__(self, stream: TrainStream, count: int, workers: int) -> None:
        self._stream = stream
        self._count = count
        self._workers = workers
        self._ahead: Iterator[Mapping[str, Tensor]] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stkit-batches")
        self._coming: Future[Mapping[str, Tensor]] | None = None
        self._number: int | None = None
        self._batch: Mapping[str, Tensor] = {}
        self.waited_seconds = 0.0
        """How long training has waited for batches."""

    def __getitem__(self, number: int) -> Mapping[str, Tensor]:
        """A batch; asking in order, or twice in a row for the same one, is cheap."""
        if number == self._number:
            return self._batch
        start = time.perf_counter()
        if self._ahead is None or self._number is None or number != self._number + 1:
            self.rest()
            self._ahead = self._stream.batches(number, self._count, self._workers)
            self._coming = None
        if self._coming is None:
            self._coming = self._thread.submit(next, self._ahead)
        self._batch, self._number = self._coming.result(), number
        self._coming = self._thread.submit(next, self._ahead) if number + 1 < self._count else None
        self.waited_seconds += time.perf_counter() - start
        return self._batch

    def rest(self) -> None:
        """Wait until nothing is being fetched: whoever else reads the data has them alone then."""
        if self._coming is not None:
            wait([self._coming])
