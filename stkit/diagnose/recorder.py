"""Everything that is shown while one forecast is made, sorted by step and layer.

Axes: ``B`` batch, ``C`` channels, then the grid in patches.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from stkit.cells.base import Tensors
from stkit.cells.observe import Attended, Observer
from stkit.stacks.forecaster import Forecaster
from stkit.stacks.stack import Stack, StackOut

_NODE = re.compile(r"^(?P<stack>.*?)\.?nodes\.(?P<node>\d+)(?:\.(?P<inside>.+))?$")


class Place(NamedTuple):
    """Where in a stack something happens."""

    layer: int
    """From 1."""
    inside: str
    """The part of the layer: names of modules with dots between them, empty for the cell itself."""

    @property
    def attached(self) -> str | None:
        """The place that an attachment stands at: ``h``, ``c, before``, ``h, rows``; None: it is no attachment."""
        parts = self.inside.split(".")
        for which, when in (("post", ""), ("pre", "before"), ("attachments", "")):
            if which in parts[:-1]:
                place, *part = parts[parts.index(which) + 1 :]
                when = "" if place == "x" else when  # what the cell reads can only be changed before
                return ", ".join(word for word in (place, when, *part) if word)
        return None


class Kept(NamedTuple):
    """A forget gate at one step."""

    place: Place
    memory: str
    kept: Tensor
    """``B C *grid``, between 0 and 1."""


class Stationarised(NamedTuple):
    """What MIM-N read and made at one step."""

    place: Place
    read: Tensor
    made: Tensor


class Looked(NamedTuple):
    """An attention at one step."""

    place: Place
    attended: Attended


@dataclass
class Step:
    """One step of a stack."""

    gates: list[Kept] = field(default_factory=list)
    signals: list[Stationarised] = field(default_factory=list)
    attention: list[Looked] = field(default_factory=list)
    hidden: tuple[Tensor, ...] = ()
    """What each node handed up."""
    aux: tuple[Tensors, ...] = ()
    """Each node's by-products."""


class Recorder(Observer):
    """Collects the steps of one forecast.

    Args:
        forecaster: the model that is watched.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self._names = {module: name for name, module in forecaster.network.named_modules()}
        self._pending = Step()
        self.steps: list[Step] = []
        """In the order of time: those of the encoder before those of the forecaster."""

    def gate(self, module: nn.Module, memory: str, kept: Tensor) -> None:
        """See :class:`stkit.cells.observe.Observer`."""
        place = self._place(module)
        if place is not None:
            self._pending.gates.append(Kept(place, memory, kept.detach()))

    def signals(self, module: nn.Module, read: Tensor, made: Tensor) -> None:
        """See :class:`stkit.cells.observe.Observer`."""
        place = self._place(module)
        if place is not None:
            self._pending.signals.append(Stationarised(place, read.detach(), made.detach()))

    def attention(self, module: nn.Module, attended: Attended) -> None:
        """See :class:`stkit.cells.observe.Observer`."""
        place = self._place(module)
        if place is not None:
            self._pending.attention.append(Looked(place, attended))

    def step(self, stack: Stack, out: StackOut) -> None:
        """See :class:`stkit.cells.observe.Observer`."""
        done, self._pending = self._pending, Step()
        done.hidden = tuple(y.detach() for y in out.ys)
        done.aux = tuple({name: value.detach() for name, value in part.items()} for part in out.aux)
        self.steps.append(done)

    def _place(self, module: nn.Module) -> Place | None:
        found = _NODE.match(self._names.get(module, ""))
        return None if found is None else Place(int(found["node"]) + 1, found["inside"] or "")


def leads(forecaster: Forecaster, input_steps: int, horizon: int) -> tuple[int, ...]:
    """Of each step that :class:`Recorder` collects, the lead time of what it forecasts; 0 and below: inside the input.

    A stack that predicts every next frame forecasts lead 1 when it has read the last frame. An encoder-forecaster
    reads all frames without a forecast, the last one at lead 0.
    """
    first = 2 - input_steps if forecaster.network.predicts_context else 1 - input_steps
    return tuple(range(first, horizon + 1))
