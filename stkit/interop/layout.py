"""Where one parameter of theirs is in ours: the order of its gates, and of its axes.

Axes: ``I`` channels in, ``O`` channels out, ``D H W`` depth, height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells.gates import GateBlock


@dataclass(frozen=True)
class Place:
    """One parameter of theirs: a block for each gate in its last (or first) axis, and where the blocks are in ours."""

    gates: tuple[str, ...]
    """The gates in their order. One that is in none of ours does not act there, and is left out."""
    ours: Mapping[str, tuple[str, ...]]
    """Names of our parameters, each with its gates in our order."""
    channels_last: bool
    folded_depth: int = 0
    """Slices of a kernel ``O I D H W`` that are channels in ours, ``O (I D) H W``; 0: it is the same kernel."""

    def to_ours(self, theirs: Tensor) -> dict[str, Tensor]:
        """Our parameters' values by their names."""
        first = self._first(theirs)
        if self.folded_depth:
            first = first.flatten(1, 2)
        blocks = dict(zip(self.gates, first.chunk(len(self.gates)), strict=True))
        return {name: torch.cat([blocks[gate] for gate in gates]) for name, gates in self.ours.items()}

    def to_theirs(self, ours: Mapping[str, Tensor]) -> Tensor:
        """Their parameter's value (or gradient) from ours; zeros for a gate that does not act."""
        blocks: dict[str, Tensor] = {}
        for name, gates in self.ours.items():
            blocks |= dict(zip(gates, ours[name].chunk(len(gates)), strict=True))
        nothing = torch.zeros_like(next(iter(blocks.values())))
        first = torch.cat([blocks.get(gate, nothing) for gate in self.gates])
        return self._last(_with_depth(first, self.folded_depth) if self.folded_depth else first)

    def idle_gates(self) -> tuple[str, ...]:
        """The gates that do not act in ours."""
        used = {gate for gates in self.ours.values() for gate in gates}
        return tuple(gate for gate in self.gates if gate not in used)

    def _first(self, value: Tensor) -> Tensor:
        """``[D] H W I O -> O I [D] H W``; ``H W O -> O H W``."""
        if not self.channels_last or value.ndim == 1:
            return value
        return value.movedim((-1, -2), (0, 1)) if value.ndim >= 4 else value.movedim(-1, 0)

    def _last(self, value: Tensor) -> Tensor:
        """``O I [D] H W -> [D] H W I O``; ``O H W -> H W O``."""
        if not self.channels_last or value.ndim == 1:
            return value
        return value.movedim((0, 1), (-1, -2)) if value.ndim >= 4 else value.movedim(0, -1)


Places = dict[str, Place]
"""By the names of their parameters."""


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
        own = {name for name, _ in module.named_parameters()}
        for theirs, ours in (
            (self.kernel, f"{self.block}.kernels.{self.source}"),
            (self.bias, f"{self.block}.biases.{self.source}"),
            (self.gain, f"{self.block}.norms.{self.source}.weight"),
            (self.offset, f"{self.block}.norms.{self.source}.bias"),
        ):
            if ours in own:
                order = block.sources[self.source].gates
                yield theirs, Place(tuple(self.gates.split()), {ours: order}, channels_last)


def torch_convolution(name: str, block: str, source: str, gates: str) -> Convolution:
    """As ``nn.Sequential(conv, norm)`` names its parameters."""
    return Convolution(block, source, gates, f"{name}.0.weight", f"{name}.0.bias", f"{name}.1.weight", f"{name}.1.bias")


def bare_convolution(name: str, block: str, source: str, gates: str) -> Convolution:
    """As ``nn.Conv2d`` names its parameters; it has no norm."""
    return Convolution(block, source, gates, f"{name}.weight", f"{name}.bias", "", "")


def tensorflow_convolution(name: str, block: str, source: str, gates: str, norm: str = "") -> Convolution:
    """As the TensorFlow repositories name theirs: the norm has a name of its own, or that of the convolution."""
    norm = f"{name.rpartition('/')[0]}/{norm}".lstrip("/") if norm else name
    return Convolution(block, source, gates, f"{name}/kernel", f"{name}/bias", f"{norm}s", f"{norm}b")


def places_of(
    module: nn.Module, convolutions: Iterable[Convolution], *, there: str = "", here: str = "", channels_last: bool
) -> Places:
    """All parameters of some convolutions: their names after ``there``, ours after ``here``."""
    return prefixed(
        dict(pair for convolution in convolutions for pair in convolution.places(module, channels_last)), there, here
    )


def prefixed(places: Mapping[str, Place], there: str, here: str) -> Places:
    """The same places where both modules are parts of larger ones."""
    return {
        there + name: replace(place, ours={here + ours: gates for ours, gates in place.ours.items()})
        for name, place in places.items()
    }


def values_of(places: Mapping[str, Place], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters' values."""
    return {name: value for place in places for name, value in places[place].to_ours(theirs[place]).items()}


def theirs_of(places: Mapping[str, Place], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their parameters' values (or gradients) from ours."""
    return {name: place.to_theirs(ours) for name, place in places.items()}


def _with_depth(kernel: Tensor, depth: int) -> Tensor:
    """``O (I D) H W -> O I D H W``."""
    outs, ins, *sides = kernel.shape
    return kernel.reshape(outs, ins // depth, depth, *sides)
