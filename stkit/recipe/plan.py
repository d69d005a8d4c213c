"""What stands in each layer: cells, channels, transitions, registers, attention; computed before anything is built.

Imports no torch. Layers are numbered from 1, the bottom one, in messages as in recipes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from stkit.plugin.config import CarryPort, CellConfig, HeadConfig, ModuleConfig, axes
from stkit.plugin.manager import plugins
from stkit.recipe.places import (
    LayerPlaces,
    Standing,
    layer_problems,
    naming_problems,
    places_of,
    standing_problems,
    standings,
)
from stkit.recipe.problem import Problem, refuse
from stkit.recipe.sections.model import EncoderForecaster, ModelConfig
from stkit.recipe.tree import Path


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node of a stack."""

    layer: int
    """From 1."""
    cell: CellConfig
    width: int
    """Hidden channels."""
    in_channels: int
    """Channels of the node's input after patching; 0: it takes none."""
    carry_in: Mapping[str, int]
    """Channels of each carried register as it arrives, at the first node from the last one."""
    transition: ModuleConfig | None
    """What fills the cell's slot; None: its own forget gate."""
    attention: tuple[Standing, ...] = ()
    """What stands at the places of the cell and of its transition."""


Grid = tuple[int, int]
Found = Iterator[tuple[Path, str]]


def plan(
    model: ModelConfig, in_channels: int, known_channels: int = 0, grid: Grid | None = None
) -> tuple[NodePlan, ...]:
    """The nodes of the stack that reads the frames, bottom to top.

    Args:
        model: the recipe's model section.
        in_channels: channels of a frame before patching, the known ones among them.
        known_channels: how many of them are known in the future too.
        grid: height and width in patches; None where they are not known.

    Raises:
        RecipeError: naming every layer where something does not fit.
    """
    nodes = _nodes(model, in_channels * model.patch**2)
    told = dict.fromkeys([*_problems(model, nodes, grid), *_forecaster_problems(model, nodes, known_channels, grid)])
    refuse(Problem(message, path) for path, message in told)
    return nodes


def plan_forecaster(model: ModelConfig, known_channels: int = 0) -> tuple[NodePlan, ...]:
    """The nodes of the second stack of an encoder-forecaster, bottom to top.

    Its bottom node takes no input, or the known inputs where the recipe says ``reads_known``.

    Raises:
        RecipeError: naming every layer where something does not fit.
    """
    refuse(Problem(message, path) for path, message in _forecaster_problems(model, None, known_channels, None))
    return _nodes(model, _forecaster_input(model, known_channels))


def plan_problems(model: ModelConfig, known_channels: int, grid: Grid | None = None) -> list[tuple[Path, str]]:
    """What does not fit, each with the path in the recipe; for the check of sense.

    How many fields the data has is known when it is opened: what holds for one of them and not for any other number of
    them is left out.

    Args:
        model: the recipe's model section.
        known_channels: of the inputs that are known in the future too.
        grid: height and width in patches of the smallest fields that the model is to see; None where that is not known.
    """
    found: list[dict[tuple[Path, str], None]] = []
    for fields in (1, 2):
        nodes = _nodes(model, (fields + known_channels) * model.patch**2)
        told = [*_problems(model, nodes, grid), *_forecaster_problems(model, nodes, known_channels, grid)]
        found.append(dict.fromkeys(told))
    return [problem for problem in found[0] if problem in found[1]]


def _nodes(model: ModelConfig, bottom_channels: int) -> tuple[NodePlan, ...]:
    cells = [layer.cell or model.cell for layer in model.layers]
    transitions = [_transition(model, place, cell) for place, cell in enumerate(cells)]
    widths = [layer.width for layer in model.layers]
    ports = [_ports(c, t, w) for c, t, w in zip(cells, transitions, widths, strict=True)]
    arriving = _arriving(ports)
    inputs = [bottom_channels]
    for cell, width in zip(cells[:-1], widths, strict=False):
        inputs.append(cell.out_channels(inputs[-1], width))
    rows = zip(cells, widths, inputs, arriving, transitions, strict=True)
    nodes = [NodePlan(layer, *row) for layer, row in enumerate(rows, start=1)]
    return tuple(replace(n, attention=standings(model, n.layer, _places(n).places)) for n in nodes)


def _places(node: NodePlan) -> LayerPlaces:
    found = places_of(
        node.cell, node.transition, in_channels=node.in_channels, width=node.width, carry_in=node.carry_in
    )
    return LayerPlaces(node.layer, _label(node), found)


def _transition(model: ModelConfig, place: int, cell: CellConfig) -> ModuleConfig | None:
    own = model.layers[place].transition
    if own is not None:
        return own
    chosen = model.transition
    if chosen is None or "transition" not in cell.slots:
        return None
    return chosen if chosen.stands_in(place + 1) else None


def _ports(cell: CellConfig, transition: ModuleConfig | None, width: int) -> dict[str, CarryPort]:
    return {**cell.carry_ports(width), **(transition.carry_ports(width) if transition else {})}


def _arriving(ports: list[dict[str, CarryPort]]) -> list[dict[str, int]]:
    """For each node the channels of the registers that arrive: they rise, and return from the last to the first."""
    current = _returning(ports)
    arriving: list[dict[str, int]] = []
    for node in ports:
        arriving.append(dict(current))
        current |= {name: port.writes for name, port in node.items() if port.writes}
    return arriving


def _returning(ports: list[dict[str, CarryPort]]) -> dict[str, int]:
    """The registers that return from the top: those that a node needs before any node below has written them."""
    written: dict[str, int] = {}
    needed: set[str] = set()
    for node in ports:
        needed |= {name for name, port in node.items() if port.reads != 0 and not port.optional and name not in written}
        written |= {name: port.writes for name, port in node.items() if port.writes}
    return {name: width for name, width in written.items() if name in needed}


def _problems(model: ModelConfig, nodes: tuple[NodePlan, ...], grid: Grid | None, *, second: bool = False) -> Found:
    """What does not fit; ``second``: in the forecaster of an encoder-forecaster, whose bottom layer has less input."""
    yield from _slot_problems(model, nodes)
    yield from _depth_problems(model, nodes)
    if not second:
        yield from naming_problems(model, [_places(node) for node in nodes])
    yield from standing_problems(model, [(_places(node), node.attention) for node in nodes], grid)
    last_writer: dict[str, tuple[int, CarryPort]] = {}
    for node in nodes:
        for name, port in _ports(node.cell, node.transition, node.width).items():
            if port.writes:
                last_writer[name] = node.layer, port
    for node in nodes:
        here: Path = ("model", "layers", node.layer - 1)
        label = _label(node)
        for name, port in _ports(node.cell, node.transition, node.width).items():
            arrives = node.carry_in.get(name, 0)
            if port.reads and arrives not in (0, port.reads):
                yield here, _carry_sentence(label, name, port.reads, arrives, last_writer[name][0], node.layer)
            if port.reads and not port.optional and not arrives:
                yield here, f"{label} reads the carried memory {name!r}, which no layer writes"
            if port.reads != 0 and arrives:
                writer, written = last_writer[name]
                if written.depth != port.depth:
                    yield (
                        here,
                        f"{label} reads the carried memory {name!r} as {axes(port.depth)}, but layer {writer} hands it "
                        f"on as {axes(written.depth)}",
                    )
            if port.writes:
                last_writer[name] = node.layer, port
        for part in (node.cell, node.transition):
            if part is not None:
                found = part.problems(in_channels=node.in_channels, width=node.width, carry_in=node.carry_in)
                yield from ((here, f"{label}: {sentence}") for sentence in found)


def _carry_sentence(label: str, name: str, needs: int, arrives: int, writer: int, layer: int) -> str:
    returns = "" if writer < layer else " (the memory returns from the top layer to the bottom one)"
    return (
        f"{label} needs the carried memory {name!r} with {needs} channels, but layer {writer} hands on "
        f"{arrives}{returns}; give the layers equal widths"
    )


def _label(node: NodePlan) -> str:
    return f"layer {node.layer} ({node.cell.name})"


def _makers_of_depth() -> str:
    """Which of the installed cells can stand below, as a hint."""
    made = []
    for spec in plugins().specs("cells"):
        try:
            config = spec.load_config()(name=spec.name)
        except Exception:  # third-party code; a field without a default, or a plugin at fault
            continue
        if config.output_depth and not config.input_depth:
            made.append(repr(spec.name))
    return f"; a layer below makes the depth: {' or '.join(sorted(made))}" if made else ""


def _depth_problems(model: ModelConfig, nodes: tuple[NodePlan, ...]) -> Iterator[tuple[Path, str]]:
    """Fields ``B C H W`` and ``B C D H W`` do not mix: layers, transitions and the head say which they take."""
    arriving, giver = 0, "frames are"
    for node in nodes:
        here: Path = ("model", "layers", node.layer - 1)
        needed = node.cell.input_depth
        if node.in_channels and needed != arriving:
            hint = "" if arriving else _makers_of_depth()
            yield here, f"{_label(node)} takes {axes(needed)}, but {giver} {axes(arriving)}{hint}"
        arriving, giver = node.cell.output_depth, f"{_label(node)} hands up"
        if node.transition is not None and arriving and not node.transition.takes_depth:
            yield (
                here,
                f"{_label(node)} keeps memories {axes(arriving)}, and the transition {node.transition.name!r} works on "
                f"{axes(0)} alone",
            )
    head = model.head
    if isinstance(head, HeadConfig):
        for node in nodes if head.reads_all else nodes[-1:]:
            if node.cell.output_depth != head.input_depth:
                yield (
                    ("model", "head"),
                    f"the head {head.name!r} reads {axes(head.input_depth)}, but {_label(node)} hands up "
                    f"{axes(node.cell.output_depth)}",
                )


def _slot_problems(model: ModelConfig, nodes: tuple[NodePlan, ...]) -> Iterator[tuple[Path, str]]:
    count = len(nodes)
    for node, layer in zip(nodes, model.layers, strict=True):
        if layer.transition is None:
            continue
        here: Path = ("model", "layers", node.layer - 1, "transition")
        if "transition" not in node.cell.slots:
            yield here, f"the cell {node.cell.name!r} of layer {node.layer} has no slot for a transition"
        if layer.transition.layers is not None:
            yield (
                (*here, "layers"),
                "a transition that is written in a layer is for that layer; 'layers' says nothing here",
            )
    chosen = model.transition
    if chosen is None:
        return
    at: Path = ("model", "transition")
    listed = chosen.layers if isinstance(chosen.layers, tuple) else ()
    yield from layer_problems(chosen, at, count)
    for number in listed:
        if 1 <= number <= count and "transition" not in nodes[number - 1].cell.slots:
            name = nodes[number - 1].cell.name
            yield (*at, "layers"), f"the cell {name!r} of layer {number} has no slot for a transition"
    meant = [node.cell for node in nodes if chosen.stands_in(node.layer)]
    if not listed and meant and not any("transition" in cell.slots for cell in meant):
        names = " and ".join(sorted({repr(cell.name) for cell in meant}))
        yield at, f"no layer takes a transition: {names} has no slot for one"


def _forecaster_input(model: ModelConfig, known_channels: int) -> int:
    rollout = model.rollout
    reads = isinstance(rollout, EncoderForecaster) and rollout.reads_known
    return known_channels * model.patch**2 if reads else 0


def _forecaster_problems(
    model: ModelConfig, encoder: tuple[NodePlan, ...] | None, known_channels: int, grid: Grid | None
) -> Found:
    if not isinstance(model.rollout, EncoderForecaster):
        return
    nodes = _nodes(model, _forecaster_input(model, known_channels))
    yield from _problems(model, nodes, grid, second=True)
    if model.rollout.reads_known and not known_channels:
        message = "there are no known inputs to read; name some in data.extra_inputs"
        yield ("model", "rollout", "reads_known"), message
    if encoder is None:
        return
    bottom = encoder[0]
    for standing in bottom.attention:
        if standing.place == "x" and standing.module.remembers and nodes[0].in_channels != bottom.in_channels:
            yield (
                ("model", "attention", "x"),
                f"{_label(bottom)}: {standing.module.name!r} has a memory, and the forecaster, which starts from the "
                "encoder's memories, has not the same input 'x'; take one without a memory, or the rollout next_frame",
            )
