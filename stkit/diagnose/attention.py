"""Where attention looks: maps of a few queries, how far and how widely they look, and RECALL's weights by age.

Weights are computed for a few queries at a time, beside the fused kernel that the forecast used: the matrix of all of
them is never made.

Axes: ``B`` batch, ``K`` queries, ``S`` sources, ``H`` height, ``W`` width (in patches).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stkit.diagnose.recorder import Looked, Step

_DRAWN_QUERIES = (0.25, 0.5, 0.75)
"""Where on the diagonal of the grid the queries of a map are: at the nearest cells with a value."""
_COUNTED_QUERIES = 32
_MOST_MAPPED = 1024
"""Queries of a map of ages; a larger grid is sampled."""
_WEIGHTS_AT_ONCE = 2**23


@dataclass(frozen=True)
class LookMap:
    """One attention at the first lead time of the first window, for a few queries."""

    layer: int
    place: str
    """Place of the cell, and what is looked at."""
    queries: tuple[tuple[int, int], ...]
    """Row and column of each, in patches."""
    weights: NDArray[np.float64]
    """``K H W``, in patches; they add up to 1 for each query."""


@dataclass(frozen=True)
class Look:
    """How one attention looks at the first lead time: means over some queries and all windows."""

    layer: int
    place: str
    cells: float
    """How many cells it looks at in effect: the exponential of the weights' entropy."""
    available: int
    """How many it may look at: those that hold a value."""
    distance: float
    """Mean distance of what it looks at from the query, in patches."""
    even_distance: float
    """The same, if it looked at all alike."""
    on_itself: float
    """Weight on the query's own cell."""


@dataclass(frozen=True)
class Ages:
    """How much weight RECALL puts on each past memory: means over some queries and all windows."""

    layer: int
    sources: tuple[str, ...]
    """From the oldest to the newest."""
    weights: tuple[tuple[float, ...], ...]
    """For each step the weight of each source; they add up to 1."""
    steps: tuple[int, ...]
    """Numbers, from 0, of these steps."""


@dataclass(frozen=True)
class AgeMap:
    """How far back each cell looks, at the first lead time of the first window."""

    layer: int
    age: NDArray[np.float64]
    """``H W`` in patches: mean age in steps; NaN where there is no value, or on large grids where none was sampled."""
    memories: int
    """How many memories there are to look back at."""


def memories_there(weights: Sequence[float]) -> int:
    """How many of RECALL's memories there are: those that have any weight; at least 1."""
    return max(sum(weight > 0 for weight in weights), 1)


def query_cells(valid: Tensor, count: int) -> Tensor:
    """Up to ``count`` cells with a value, spread evenly over them: int64 ``K``, counted row by row."""
    cells = valid.flatten().nonzero()[:, 0]
    if len(cells) <= count:
        return cells
    places = (torch.arange(count, dtype=torch.float64) + 0.5) * len(cells) / count
    return cells[places.long().to(cells.device)]


def drawn_cells(valid: Tensor) -> Tensor:
    """The cells whose looks are drawn, up to three along the diagonal of the grid: int64 ``K``."""
    cells = query_cells(valid, valid.numel())
    height, width = valid.shape
    down, across = (cells // width + 0.5) / height, (cells % width + 0.5) / width
    nearest = {int(cells[((down - at).square() + (across - at).square()).argmin()]) for at in _DRAWN_QUERIES}
    return torch.tensor(sorted(nearest), device=valid.device)


class LookCollector:
    """Asks the attentions of window after window.

    Args:
        first_lead: number, from 0, of the step that forecasts lead 1.
    """

    def __init__(self, first_lead: int) -> None:
        self.first_lead = first_lead
        self.maps: list[LookMap] = []
        self.age_maps: list[AgeMap] = []
        self._looks: dict[tuple[int, str], list[Look]] = {}
        self._ages: dict[tuple[int, tuple[str, ...]], dict[int, list[Tensor]]] = {}

    def add(self, steps: Sequence[Step], valid: Tensor) -> None:
        """Ask one window. The first one is asked for maps, too.

        Args:
            steps: of the window.
            valid: ``H W`` in patches, which of them hold a cell with a value.
        """
        first = not self._looks and not self._ages
        counted = query_cells(valid, _COUNTED_QUERIES)
        for number, step in enumerate(steps):
            for looked in step.attention:
                if len(looked.attended.sources) > 1:
                    self._add_ages(number, looked, counted)
                    if first and number == self.first_lead:
                        self.age_maps.append(_age_map(looked, valid))
                elif number == self.first_lead:
                    self._add_look(looked, counted, valid)
                    if first:
                        self.maps.append(_look_map(looked, valid))

    def looks(self) -> list[Look]:
        """One entry for each attention over the grid, bottom to top."""
        return [_mean_look(found) for _, found in sorted(self._looks.items())]

    def ages(self) -> list[Ages]:
        """One entry for each attention over past memories, bottom to top."""
        found = []
        for (layer, sources), by_step in sorted(self._ages.items()):
            numbers = tuple(sorted(by_step))
            weights = tuple(tuple(torch.stack(by_step[number]).mean(dim=0).tolist()) for number in numbers)
            found.append(Ages(layer, sources, weights, numbers))
        return found

    def _add_ages(self, number: int, looked: Looked, cells: Tensor) -> None:
        total = torch.stack([part.sum(dim=(3, 4))[0] for _, part in _weights(looked, cells)]).flatten(0, 1)
        by_step = self._ages.setdefault((looked.place.layer, looked.attended.sources), {})
        by_step.setdefault(number, []).append(total.to(torch.float64).mean(dim=0).cpu())

    def _add_look(self, looked: Looked, cells: Tensor, valid: Tensor) -> None:
        weights = torch.cat([part[0, :, 0] for _, part in _weights(looked, cells)]).to(torch.float64)  # K H W
        height, width = valid.shape
        rows, columns = cells // width, cells % width
        down = (torch.arange(height, device=cells.device) - rows[:, None]).square()
        across = (torch.arange(width, device=cells.device) - columns[:, None]).square()
        distance = (down[:, :, None] + across[:, None]).to(torch.float64).sqrt()
        entropy = -torch.xlogy(weights, weights).sum(dim=(1, 2))
        even = valid.to(torch.float64) / valid.sum()
        look = Look(
            layer=looked.place.layer,
            place=_place(looked),
            cells=float(entropy.exp().mean()),
            available=int(valid.sum()),
            distance=float((weights * distance).sum(dim=(1, 2)).mean()),
            even_distance=float((even * distance).sum(dim=(1, 2)).mean()),
            on_itself=float(weights[torch.arange(len(cells)), rows, columns].mean()),
        )
        self._looks.setdefault((look.layer, look.place), []).append(look)


def _look_map(looked: Looked, valid: Tensor) -> LookMap:
    cells = drawn_cells(valid)
    weights = torch.cat([part[0, :, 0] for _, part in _weights(looked, cells)])
    where = tuple((int(cell) // valid.shape[1], int(cell) % valid.shape[1]) for cell in cells)
    return LookMap(looked.place.layer, _place(looked), where, weights.to(torch.float64).cpu().numpy())


def _age_map(looked: Looked, valid: Tensor) -> AgeMap:
    ages = torch.arange(len(looked.attended.sources), 0, -1, dtype=torch.float64, device=valid.device)
    cells = query_cells(valid, _MOST_MAPPED)
    found = torch.full((valid.numel(),), torch.nan, dtype=torch.float64, device=valid.device)
    total = torch.zeros_like(ages)
    for part_cells, part in _weights(looked, cells):
        by_age = part[0].sum(dim=(2, 3)).to(torch.float64)
        found[part_cells] = by_age @ ages
        total += by_age.sum(dim=0)
    age = found.reshape(valid.shape).cpu().numpy()
    return AgeMap(looked.place.layer, age, memories_there(total.tolist()))


def _weights(looked: Looked, cells: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cells in pieces, and their weights ``B K S H W``: as many at once as fit into little memory."""
    one = looked.attended.weights(cells[:1])
    at_once = max(1, _WEIGHTS_AT_ONCE // one.numel())
    for start in range(0, len(cells), at_once):
        piece = cells[start : start + at_once]
        yield piece, looked.attended.weights(piece).detach()


def _place(looked: Looked) -> str:
    attached = looked.place.attached or looked.place.inside.rpartition(".")[2] or "cell"
    source = looked.attended.sources[0]
    return attached if source == "signal" else f"{attached}, at its {source}"


def _mean_look(found: Sequence[Look]) -> Look:
    first = found[0]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return Look(
        layer=first.layer,
        place=first.place,
        cells=mean([look.cells for look in found]),
        available=first.available,
        distance=mean([look.distance for look in found]),
        even_distance=mean([look.even_distance for look in found]),
        on_itself=mean([look.on_itself for look in found]),
    )
