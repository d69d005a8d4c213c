"""What is needed next, fetched by a thread while something else is computed. Imports no torch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
AHEAD = 2
"""Items that are kept ready: where one takes longer than a step and the next one less, the step does not wait."""
_LOOK_SECONDS = 2e-4
"""How often it is looked whether a device that computes has come to its end."""


def idle() -> bool:
    """Nothing is computed while an item is waited for."""
    return False


class Ahead(Generic[Item]):
    """The items of an iterator in their order, each fetched before it is asked for.

    They are fetched one at a time by one thread, which starts with the first item and ends with :meth:`close`. What
    the iterator raises is raised where its item is asked for.

    Args:
        items: what is fetched.
        busy: whether the device still computes, so that it does not wait although the program does.

    Attributes:
        waited_seconds: how long nothing was computed for want of an item.
    """

    def __init__(self, items: Iterator[Item], busy: Callable[[], bool] = idle) -> None:
        self._items = items
        self._busy = busy
        self._coming: deque[Future[Item]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stkit-ahead")
        self.waited_seconds = 0.0

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        self._go_on()
        coming = self._coming.popleft()
        self._wait(coming)
        item = coming.result()
        self._go_on()
        return item

    def rest(self) -> None:
        """Wait until nothing is being fetched, and fetch nothing until the next item is asked for."""
        while self._coming and self._coming[-1].cancel():
            self._coming.pop()
        wait(self._coming)

    def close(self) -> None:
        """End the thread; what it has fetched is thrown away."""
        self.rest()
        self._thread.shutdown()
        self._coming.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _go_on(self) -> None:
        while len(self._coming) < AHEAD:
            self._coming.append(self._thread.submit(next, self._items))

    def _wait(self, coming: Future[Item]) -> None:
        """Wait for an item; time counts unless the device computes, and in whole if it came to its end meanwhile."""
        while not coming.done():
            start, computes = time.perf_counter(), self._busy()
            wait([coming], timeout=_LOOK_SECONDS if computes else None)
            if not (computes and self._busy()):
                self.waited_seconds += time.perf_counter() - start
