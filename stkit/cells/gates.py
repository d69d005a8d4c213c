"""One block computes a cell's gate pre-activations: a sum over its sources of convolutions.

How it convolves is behind it: an :class:`stkit.cells.Engine`, the same for every cell.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stkit.cells.base import NormFactory
from stkit.cells.engine import DIRECT, Engine, Pieces, entered, together

Grid = Float[Tensor, "B _ *grid"]


@dataclass(frozen=True, slots=True)
class Source:
    """One input of a gate block."""

    channels: int
    gates: tuple[str, ...]
    """Names of the gates it feeds, in the order of its kernel's output channels."""

    @classmethod
    def of(cls, channels: int, gates: str) -> Source:
        """``Source.of(64, "i f g o")``."""
        return cls(channels, tuple(gates.split()))


class GateBlock(nn.Module):
    """``gate = sum over sources of norm(W_source * source) + b``, for several gates of one width at once.

    .. code-block:: python

        gates = GateBlock(64, {"x": Source.of(16, "i f g o"), "h": Source.of(64, "i f g o")}, kernel=5, bias="gate")
        a = gates(x=x, h=h)          # a["i"], a["f"], ...: B 64 H W, not yet squashed

    A source may be given as a tuple of tensors; they count as concatenated on the channels. Kernels and the bias of a
    source start uniform within ``1/sqrt(fan_in)``, torch's own start of a convolution; the bias of a gate starts at 0.

    Args:
        width: channels of each gate.
        sources: what is convolved, and which gates it feeds. A source without channels is left out.
        kernel: side of the kernels in cells, or one size for each axis (``(2, 5, 5)`` on ``B C D H W``).
        bias: ``none``; ``gate``: one for each gate; ``source``: one for each source and gate.
        norm: makes the norm of a source's response, before the sum; None: no norm.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: if there is nothing to sum, or a gate is named twice in one source.
    """

    def __init__(
        self,
        width: int,
        sources: Mapping[str, Source],
        *,
        kernel: int | tuple[int, ...],
        bias: Literal["none", "gate", "source"] = "none",
        norm: NormFactory | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.sources = {name: source for name, source in sources.items() if source.channels and source.gates}
        if not self.sources:
            raise ValueError(f"a gate block needs a source with channels and gates, got {dict(sources)}")
        for name, source in self.sources.items():
            if len(set(source.gates)) < len(source.gates):
                raise ValueError(f"source {name!r} names a gate twice: {' '.join(source.gates)}")
        self.gates = tuple(dict.fromkeys(gate for source in self.sources.values() for gate in source.gates))
        self.engine: Engine = DIRECT

        sizes = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
        self.kernels = nn.ParameterDict()
        self.biases = nn.ParameterDict()
        self.norms = nn.ModuleDict()
        for name, source in self.sources.items():
            channels = len(source.gates) * width
            self.kernels[name] = nn.Parameter(
                torch.empty(channels, source.channels, *sizes, device=device, dtype=dtype)
            )
            if bias == "source":
                self.biases[name] = nn.Parameter(torch.empty(channels, device=device, dtype=dtype))
            self.norms[name] = nn.Identity() if norm is None else norm(channels)
        shape = (len(self.gates), width, *[1] * len(sizes))
        self.bias = nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) if bias == "gate" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernels and source biases anew; gate biases become zero. Norms are left to themselves."""
        for name, kernel in self.kernels.items():
            bound = 1 / math.sqrt(math.prod(kernel.shape[1:]))
            nn.init.uniform_(kernel, -bound, bound)
            if name in self.biases:
                nn.init.uniform_(self.biases[name], -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def bias_of(self, source: str) -> Tensor | None:
        """The bias that belongs to one source, if there is one."""
        bias: Tensor | None = self.biases.get(source)
        return bias

    def forward(self, **inputs: Grid | tuple[Grid, ...] | None) -> dict[str, Tensor]:
        """The gates' pre-activations, by name, each ``B width *grid``.

        Args:
            inputs: each source by its name: ``B C *grid``, or a tuple of such tensors whose channels add up. A source
                that was left out for want of channels may be given as None.

        Raises:
            ValueError: if a source is missing, unknown, or has other channels than declared.
        """
        given = {
            name: value if isinstance(value, tuple) else (value,) for name, value in inputs.items() if value is not None
        }
        if given.keys() != self.sources.keys():
            raise ValueError(f"a gate block with the sources {_names(self.sources)} was given {_names(given)}")
        for name, parts in given.items():
            channels = sum(part.shape[1] for part in parts)
            if channels != self.sources[name].channels:
                raise ValueError(f"source {name!r} has {self.sources[name].channels} channels, received {channels}")
        gates = self.engine(self, given)
        return gates if self.engine.adds_bias else self.biased(gates)

    def biased(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        """With the gates' own biases, if there are any."""
        if self.bias is None:
            return gates
        return {name: gates[name] + bias for name, bias in zip(self.gates, self.bias.unbind(), strict=True)}

    def extra_repr(self) -> str:
        """What feeds what, for ``print(model)``."""
        fed = "; ".join(
            f"{name}({source.channels}) -> {' '.join(source.gates)}" for name, source in self.sources.items()
        )
        return f"{self.width} channels each, {fed}"


def use_engine(module: nn.Module, engine: Engine) -> None:
    """Let every gate block inside ``module`` convolve with ``engine``. Parameters and their names stay as they are."""
    for block in _blocks(module):
        block.engine = engine


@contextmanager
def sequence(module: nn.Module) -> Iterator[None]:
    """The span of one sequence for every engine inside ``module``: its weights are constant in it."""
    with entered([engine.sequence for engine in _engines(module)]):
        yield


def pieces(module: nn.Module, *, keep_weights: bool = True) -> Pieces:
    """:meth:`stkit.cells.Engine.pieces` of every engine inside ``module``."""
    return together(*(engine.pieces(keep_weights=keep_weights) for engine in _engines(module)))


def _engines(module: nn.Module) -> list[Engine]:
    return list({id(block.engine): block.engine for block in _blocks(module)}.values())


def _blocks(module: nn.Module) -> Iterator[GateBlock]:
    return (part for part in module.modules() if isinstance(part, GateBlock))


def _names(mapping: Mapping[str, object]) -> str:
    return ", ".join(mapping) or "nothing"
