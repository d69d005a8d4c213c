"""The batches of a training in their order, prepared ahead: by worker processes where the recipe asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from stkit.train.ahead import Ahead, idle

if TYPE_CHECKING:
    from stkit.data.stream import TrainStream

Batch = Mapping[str, Tensor]


def as_it_is(batch: Batch) -> Batch:
    """Nothing is done to it."""
    return batch


class Batches:
    """This process's share of each batch.

    While a step computes, a thread fetches the next batches: makes them, or takes them from the worker processes. One
    is fetched at a time, and :meth:`rest` waits for it, so that two threads never read the data at once.

    Args:
        stream: batches as a function of their number.
        count: how many there are in the whole training.
        workers: processes that prepare batches ahead; 0: the thread does it.
        ready: what the thread does to a batch before a step takes it.
        busy: whether the device still computes, so that it does not wait although the program does.
    """

    def __init__(
        self,
        stream: TrainStream,
        count: int,
        workers: int,
        ready: Callable[[Batch], Batch] = as_it_is,
        busy: Callable[[], bool] = idle,
    ) -> None:
        self._stream = stream
        self._count = count
        self._workers = workers
        self._ready = ready
        self._busy = busy
        self._ahead: Ahead[Batch] | None = None
        self._number: int | None = None
        self._batch: Batch = {}
        self.waited_seconds = 0.0
        """How long nothing was computed for want of a batch."""

    def __getitem__(self, number: int) -> Batch:
        """A batch; asking in order, or twice in a row for the same one, is cheap."""
        if number == self._number:
            return self._batch
        if self._ahead is None or self._number is None or number != self._number + 1:
            self.close()
            made = self._stream.batches(number, self._count, self._workers)
            self._ahead = Ahead(map(self._ready, made), self._busy)
        before = self._ahead.waited_seconds
        self._batch, self._number = next(self._ahead), number
        self.waited_seconds += self._ahead.waited_seconds - before
        return self._batch

    def rest(self) -> None:
        """Wait until nothing is being fetched: whoever else reads the data has them alone then."""
        if self._ahead is not None:
            self._ahead.rest()

    def close(self) -> None:
        """End the thread and the worker processes; a batch that is asked for later starts them again."""
        if self._ahead is not None:
            self._ahead.close()
        self._ahead, self._number, self._batch = None, None, {}
