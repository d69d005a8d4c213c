"""How many bytes tensors hold on a device, now and at the most: the allocator's account on a GPU, our own elsewhere.

On a CPU there is no account to ask, and the size of the process says little: an allocator keeps what was freed. So each
tensor's storage is counted from the operation that makes it until it is gone. What a library takes inside one
operation is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Held:
    """Bytes of what was made since the beginning."""

    now: int = 0
    most: int = 0
    """At any time. On a GPU both are there when the context has ended, or when they are read."""

    def reading(self) -> tuple[int, int]:
        """The most so far, and what is held now."""
        return self.most, self.now

    def add(self, size: int) -> None:
        """Something is there."""
        self.now += size
        self.most = max(self.most, self.now)

    def take(self, size: int) -> None:
        """It is gone."""
        self.now -= size


class _OfAllocator(Held):
    """Asks the allocator of a GPU."""

    def __init__(self, device: torch.device) -> None:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        self._device, self._before = device, torch.cuda.memory_allocated(device)

    def reading(self) -> tuple[int, int]:
        torch.cuda.synchronize(self._device)
        self.now = torch.cuda.memory_allocated(self._device) - self._before
        self.most = torch.cuda.max_memory_allocated(self._device) - self._before
        return self.most, self.now


@contextmanager
def watch(device: torch.device) -> Iterator[Held]:
    """Count what tensors hold on a device as long as the context lasts; what was there before does not count."""
    if device.type == "cuda":
        held: Held = _OfAllocator(device)
        yield held
        held.reading()
        return
    held = Held()
    with _Storages(held, device):
        yield held


class _Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts each storage once, from the operation that gives a tensor of it."""

    def __init__(self, held: Held, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held, self.device = held, device
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs)) if _has_storage(tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            if _has_storage(tensor) and tensor.device.type == self.device.type:
                self._count(tensor.untyped_storage(), given)
        return made

    def _count(self, storage: Any, given: set[int]) -> None:
        key = id(storage)
        if key in self._known or key in given:  # what is given and not known was there before
            return
        size = storage.nbytes()
        self.held.add(size)

        def gone(_: object) -> None:
            self._known.pop(key, None)
            self.held.take(size)

        self._known[key] = weakref.ref(storage, gone)


def _has_storage(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
