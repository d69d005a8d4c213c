"""Where one parameter of theirs is in ours: the order of its gates, and of its axes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells import GateBlock


@dataclass(frozen=True)
class Place:
    """One parameter of theirs: a block for each gate in its last (or first) axis, and where the blocks are in ours."""

    gates: tuple[str, ...]
    """The gates in their order."""
    ours: Mapping[str, tuple[str, ...]]
    """Names of our parameters, each with its gates in our order."""
    channels_last: bool

    def to_ours(self, theirs: Tensor) -> dict[str, Tensor]:
        blocks = dict(zip(self.gates, self._first(theirs).chunk(len(self.gates)), strict=True))
        return {name: torch.cat([blocks[gate] for gate in gates]) for name, gates in self.ours.items()}

    def to_theirs(self, ours: Mapping[str, Tensor]) -> Tensor:
        blocks: dict[str, Tensor] = {}
        for name, gates in self.ours.items():
            blocks |= dict(zip(gates, ours[name].chunk(len(gates)), strict=True))
        return self._last(torch.cat([blocks[gate] for gate in self.gates]))

    def _first(self, value: Tensor) -> Tensor:
        """``H W I O -> O I H W``; ``H W C -> C H W``."""
        if not self.channels_last or value.ndim == 1:
            return value
        return value.movedim((-1, -2), (0, 1)) if value.ndim == 4 else value.movedim(-1, 0)

    def _last(self, value: Tensor) -> Tensor:
        """``O I H W -> H W I O``; ``C H W -> H W C``."""
        if not self.channels_last or value.ndim == 1:
            return value
        return value.movedim((0, 1), (-1, -2)) if value.ndim == 4 else value.movedim(0, -1)


class Convolution(NamedTuple):
    """One convolution of theirs, with its bias and norm, and the source of a gate block that it is in ours."""

    block: str
    """Path of the gate block in our module."""
    source: str
    gates: str
    """In their order."""
    kernel: str
    bias: str
    gain: str
    offset: str

    def places(self, module: nn.Module, channels_last: bool) -> Iterator[tuple[str, Place]]:
        """For each of its parameters the name there, and the place here; without what the block does not have."""
        block = module.get_submodule(self.block)
        assert isinstance(block, GateBlock)
        for theirs, ours in (
            (self.kernel, f"{self.block}.kernels.{self.source}"),
            (self.bias, f"{self.block}.biases.{self.source}"),
            (self.gain, f"{self.block}.norms.{self.source}.weight"),
            (self.offset, f"{self.block}.norms.{self.source}.bias"),
        ):
            if _has(module, ours):
                order = block.sources[self.source].gates
                yield theirs, Place(tuple(self.gates.split()), {ours: order}, channels_last)


def torch_convolution(name: str, block: str, source: str, gates: str) -> Convolution:
    """As ``nn.Sequential(conv, norm)`` names its parameters; a bare convolution has no number."""
    return Convolution(block, source, gates, f"{name}.0.weight", f"{name}.0.bias", f"{name}.1.weight", f"{name}.1.bias")


def tensorflow_convolution(name: str, block: str, source: str, gates: str, norm: str = "") -> Convolution:
    """As the TensorFlow repositories name theirs: the norm has a name of its own, or that of the convolution."""
    norm = f"{name.rpartition('/')[0]}/{norm}".lstrip("/") if norm else name
    return Convolution(block, source, gates, f"{name}/kernel", f"{name}/bias", f"{norm}s", f"{norm}b")


def places_of(
    module: nn.Module, convolutions: Iterable[Convolution], *, there: str = "", here: str = "", channels_last: bool
) -> dict[str, Place]:
    """All parameters of some convolutions: their names after ``there``, ours after ``here``."""
    return prefixed(
        dict(pair for convolution in convolutions for pair in convolution.places(module, channels_last)), there, here
    )


def prefixed(places: Mapping[str, Place], there: str, here: str) -> dict[str, Place]:
    """The same places where both modules are parts of larger ones."""
    return {
        there + name: Place(
            place.gates, {here + ours: gates for ours, gates in place.ours.items()}, place.channels_last
        )
        for name, place in places.items()
    }


def values_of(places: Mapping[str, Place], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters' values."""
    return {name: value for place in places for name, value in places[place].to_ours(theirs[place]).items()}


def theirs_of(places: Mapping[str, Place], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their parameters' values (or gradients) from ours."""
    return {name: place.to_theirs(ours) for name, place in places.items()}


def _has(module: nn.Module, name: str) -> bool:
    return any(name == own for own, _ in module.named_parameters())
