"""A file of reference values, and what is held against it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

TOLERANCE = 1e-9


class Unfitting(Exception):
    """The file is not what its name says."""


@dataclass
class Golden:
    """One file. ``used`` remembers which tensors were held against ours, so that none is forgotten."""

    path: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    """What the file says of the code's settings; the adapters take sizes from the tensors, and from here only what
    tensors lack."""
    used: set[str] = field(default_factory=set)
    errors: list[tuple[str, float]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    """What the file says of itself: ``repo``, ``commit`` and ``cls`` of the code that gave the numbers."""

    @classmethod
    def read(cls, path: Path) -> Golden:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        return cls(path, tensors, json.loads(metadata.get("config", "{}")), said=metadata)

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.tensors if name.startswith(prefix))

    def parameters(self) -> dict[str, Tensor]:
        return {name.removeprefix("param."): self.tensors[name] for name in self.names("param.")}

    def take(self, name: str) -> Tensor:
        return self.tensors[name]

    def compare(self, name: str, ours: Tensor) -> None:
        """Hold one of our tensors against the one of that name."""
        theirs = self.tensors[name]
        self.used.add(name)
        if ours.shape != theirs.shape:
            raise Unfitting(f"{name}: shape {tuple(ours.shape)}, reference {tuple(theirs.shape)}")
        difference = (ours.detach().double() - theirs.double()).abs().max() if theirs.numel() else torch.zeros(())
        self.errors.append((name, float(difference)))

    def forgotten(self) -> list[str]:
        """Results in the file that nothing of ours was held against."""
        results = ("step.", "out.", "grad.")
        return sorted(name for name in self.tensors if name.startswith(results) and name not in self.used)

    @property
    def worst(self) -> tuple[str, float]:
        return max(self.errors, key=lambda pair: pair[1] if pair[1] == pair[1] else float("inf"))


def load(module: nn.Module, values: dict[str, Tensor]) -> dict[str, nn.Parameter]:
    """Put values into a module's parameters; each of them must get one."""
    ours = dict(module.named_parameters())
    if ours.keys() != values.keys():
        raise Unfitting(
            f"without a value: {ours.keys() - values.keys()}; without a place: {values.keys() - ours.keys()}"
        )
    for name, value in values.items():
        if ours[name].shape != value.shape:
            raise Unfitting(f"{name}: shape {tuple(ours[name].shape)}, reference {tuple(value.shape)}")
        ours[name].data = value.clone()  # keeps the reference's kind of number
    return ours


def channels_first(frames: Tensor) -> Tensor:
    """``B T H W C -> B T C H W``."""
    return frames.movedim(-1, 2)


def channels_last(frames: Tensor) -> Tensor:
    """``B T C H W -> B T H W C``."""
    return frames.movedim(2, -1)
