"""Where attention stands in a layer: at the places of its cell and of its transition. Imports no torch.

A place is the input ``x``, an entry of the cell's state (``h``, ``c``), a carried register (``m``), or a signal inside
the transition (``d`` and ``t`` of MIM).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stkit.errors import nearest
from stkit.plugin.config import AttentionConfig, CellConfig, ModuleConfig, axes, span
from stkit.recipe.sections.model import ModelConfig
from stkit.recipe.tree import Path


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a layer."""

    before: int
    """Channels of the signal as the cell reads it; 0: attention cannot stand before the cell."""
    after: int
    """Channels of the signal as the cell has made it; 0: attention cannot stand after the cell."""
    depth: int
    """Slices of the signal where it is ``B C D H W``; 0: it is ``B C H W``."""
    inside: bool = False
    """It is a place of the transition, not of the cell."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Attention at a place of a layer."""

    place: str
    module: AttentionConfig
    at: Place

    @property
    def before(self) -> bool:
        """Whether it acts on what the cell reads."""
        return self.place == "x" if self.module.when is None else self.module.when == "before"

    @property
    def channels(self) -> int:
        """Of the signal; 0 where it cannot act at that time."""
        return self.at.before if self.before else self.at.after


@dataclass(frozen=True, slots=True)
class LayerPlaces:
    """One layer and its places."""

    layer: int
    """From 1."""
    label: str
    """What messages call it."""
    places: Mapping[str, Place]


def places_of(
    cell: CellConfig, transition: ModuleConfig | None, *, in_channels: int, width: int, carry_in: Mapping[str, int]
) -> dict[str, Place]:
    """The places of a layer, by name, in the order in which messages list them."""
    made = cell.out_channels(in_channels, width)
    found = {"x": Place(in_channels, 0, cell.input_depth)} if in_channels else {}
    found |= {name: Place(made, made, cell.output_depth) for name in cell.places}
    for name, port in cell.carry_ports(width).items():
        found[name] = Place(carry_in.get(name, 0) if port.reads != 0 else 0, port.writes, port.depth)
    if transition is not None:
        for name in transition.places:
            found.setdefault(name, Place(0, width, cell.output_depth, inside=True))
    return found


def standings(model: ModelConfig, layer: int, places: Mapping[str, Place]) -> tuple[Standing, ...]:
    """The attention of one layer, in the order of its places."""
    chosen: dict[str, AttentionConfig | None] = {
        place: module for place, module in model.attention.items() if module is not None and module.stands_in(layer)
    }
    chosen |= model.layers[layer - 1].attention
    return tuple(
        Standing(name, module, place) for name, place in places.items() if (module := chosen.get(name)) is not None
    )


def naming_problems(model: ModelConfig, layers: Iterable[LayerPlaces]) -> Iterator[tuple[Path, str]]:
    """Places that are not there, and layers that have no such place."""
    rows = list(layers)
    for place, module in model.attention.items():
        if module is None:
            continue
        at: Path = ("model", "attention", place)
        yield from layer_problems(module, at, len(rows))
        if isinstance(module.layers, tuple):
            meant = [row for row in rows if row.layer in module.layers]
            for row in meant:
                if place not in row.places:
                    yield (*at, "layers"), f"{row.label} has no place {place!r}; {_known(place, [row])}"
        elif not any(place in row.places for row in rows if module.stands_in(row.layer)):
            yield at, f"no layer has a place {place!r}; {_known(place, rows)}"
    for row in rows:
        for place, module in model.layers[row.layer - 1].attention.items():
            at = ("model", "layers", row.layer - 1, "attention", place)
            if place not in row.places:
                yield at, f"{row.label} has no place {place!r}; {_known(place, [row])}"
            if module is not None and module.layers is not None:
                yield (
                    (*at, "layers"),
                    "attention that is written in a layer is for that layer; 'layers' says nothing here",
                )


def layer_problems(module: ModuleConfig, at: Path, count: int) -> Iterator[tuple[Path, str]]:
    """Numbers of layers that there are not."""
    said = span(module.layers) if isinstance(module.layers, str) else module.layers or ()
    for number in said:
        if number is not None and not 1 <= number <= count:
            yield (*at, "layers"), f"there is no layer {number}; the layers are 1 to {count}"


def standing_problems(
    model: ModelConfig, layers: Iterable[tuple[LayerPlaces, Iterable[Standing]]], grid: tuple[int, int] | None
) -> Iterator[tuple[Path, str]]:
    """Modules that do not fit where they stand; what is the same in several layers is told of the first one."""
    told: set[tuple[Path, str]] = set()
    for row, attention in layers:
        for standing in attention:
            own = model.layers[row.layer - 1].attention.get(standing.place) is not None
            section: Path = ("model", "layers", row.layer - 1) if own else ("model",)
            for inner, rest in _misfits(standing, grid):
                at: Path = (*section, "attention", standing.place, *inner)
                if (at, rest) not in told:
                    told.add((at, rest))
                    yield at, row.label + rest


def _misfits(standing: Standing, grid: tuple[int, int] | None) -> Iterator[tuple[Path, str]]:
    """What does not fit, as the end of a sentence that begins with the layer; and the key inside the module."""
    place, module, depth = standing.place, standing.module, standing.at.depth
    if not standing.channels:
        yield ("when",), _out_of_time(standing)
    elif depth and not module.takes_depth:
        yield (), f" has {axes(depth)} at {place!r}, and {module.name!r} works on {axes(0)} alone"
    else:
        for sentence in module.misfits(channels=standing.channels, depth=depth, grid=grid):
            yield (), f", place {place!r}: {sentence}"


def _out_of_time(standing: Standing) -> str:
    place = standing.place
    if place == "x":
        return ": the input 'x' is there before the cell alone; leave out 'when: after'"
    if standing.before:
        what = f"the transition makes {place!r} inside the step" if standing.at.inside else f"no {place!r} arrives"
        return f": {what}, so attention cannot stand before it; leave out 'when: before'"
    return f" reads {place!r} and makes none; write 'when: before'"


def _known(place: str, rows: Iterable[LayerPlaces]) -> str:
    known = dict.fromkeys(name for row in rows for name in row.places)
    near = nearest(place, known)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}the places are {', '.join(known) or 'none'}"
