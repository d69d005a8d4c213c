"""The parameters in a file, and what an architecture looks for among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from stkit.errors import CheckpointError

SHOWN = 6


class Weights(Mapping[str, Tensor]):
    """Parameters by name. Asking for one that is not there is an error that a user understands.

    Args:
        tensors: the parameters.
        where: what messages call the file.
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str = "the weights") -> None:
        self.tensors = dict(tensors)
        self.where = where

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Of a parameter that must be there.

        Raises:
            CheckpointError: it is not there, or has another number of axes.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self.where}: the parameter {name} is missing")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != axes:
            raise CheckpointError(f"{self.where}: {name} has the shape {shape}, expected {axes} axes")
        return shape

    def numbers(self, pattern: str) -> list[int]:
        """The different numbers that a pattern's only group finds at the beginning of names, in order.

        Raises:
            CheckpointError: one between the first and the last is missing.
        """
        found = sorted({int(match[1]) for name in self.tensors if (match := re.match(pattern, name))})
        if found and found != list(range(found[0], found[-1] + 1)):
            raise CheckpointError(f"{self.where}: layers are missing, there are only {', '.join(map(str, found))}")
        return found

    def scope(self, ending: str) -> str:
        """What stands before ``ending`` in the first name that ends in it, such as the scope of a whole network.

        Raises:
            CheckpointError: no name ends in it.
        """
        found = next((name for name in self.tensors if name.endswith(ending)), None)
        if found is None:
            raise CheckpointError(f"{self.where}: no parameter is called ...{ending}")
        return found.removesuffix(ending)


def listed(names: Iterable[str], shown: int = SHOWN) -> str:
    """Names for a message, the first few of many."""
    every = sorted(names)
    more = f" and {len(every) - shown} more" if len(every) > shown else ""
    return ", ".join(every[:shown]) + more
