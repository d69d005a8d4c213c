"""The batches of a training in their order, prepared ahead by worker processes where the recipe asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from stkit.data.stream import TrainStream


class Batches:
    """This process's share of each batch.

    Args:
        stream: batches as a function of their number.
        count: how many there are in the whole training.
        workers: processes that prepare batches ahead; 0: this process does it when asked.
    """

    def __init__(self, stream: TrainStream, count: int, workers: int) -> None:
        self._stream = stream
        self._count = count
        self._workers = workers
        self._ahead: Iterator[Mapping[str, Tensor]] | None = None
        self._number: int | None = None
        self._batch: Mapping[str, Tensor] = {}

    def __getitem__(self, number: int) -> Mapping[str, Tensor]:
        """A batch; asking in order, or twice in a row for the same one, is cheap."""
        if number == self._number:
            return self._batch
        if self._ahead is None or self._number is None or number != self._number + 1:
            self._ahead = self._stream.batches(number, self._count, self._workers)
        self._batch, self._number = next(self._ahead), number
        return self._batch
