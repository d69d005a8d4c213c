"""Nested state (dicts, lists, numbers, tensors) as one flat table of tensors and a JSON value, without pickle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stkit.errors import CheckpointError


def flatten(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The JSON value that stands for ``value``; its tensors are put into ``tensors`` under their paths.

    Raises:
        TypeError: something that is neither a container, a number, a string nor a tensor.
    """
    match value:
        case Tensor():
            tensors[path] = value
            return {"tensor": path}
        case dict():
            # Pairs, because the keys of an optimiser's state are integers and JSON has none.
            return {
                "dict": [
                    [key, flatten(item, tensors, f"{path}.{key}" if path else str(key))] for key, item in value.items()
                ]
            }
        case tuple() | list():
            items = [flatten(item, tensors, f"{path}.{index}") for index, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else {"list": items}
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise TypeError(f"{path}: a {type(value).__name__} cannot be saved without pickle")


def unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of :func:`flatten`.

    Raises:
        CheckpointError: the JSON value is not one that :func:`flatten` writes, or names a tensor that is missing.
    """
    match value:
        case {"tensor": str(path)}:
            if path not in tensors:
                raise CheckpointError(f"the tensor {path!r} is missing")
            return tensors[path]
        case {"dict": list(pairs)}:
            return {key: unflatten(item, tensors) for key, item in pairs}
        case {"tuple": list(items)}:
            return tuple(unflatten(item, tensors) for item in items)
        case {"list": list(items)}:
            return [unflatten(item, tensors) for item in items]
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise CheckpointError(f"not a saved state: {value!r:.80}")


def storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that share no memory, as safetensors wants them."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
