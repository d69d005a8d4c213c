"""The third stage of checking: build the model on the meta device, which takes no memory, and count.

Importing this loads no torch; :func:`dry_run` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stkit.plugin.manager import plugins
from stkit.recipe.loaded import LoadedRecipe
from stkit.recipe.plan import NodePlan, plan
from stkit.recipe.sections.data import DataConfig
from stkit.recipe.validate import known_channels

_STATES_OF_ADAM = 2
_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class LayerCount:
    """One node of a stack."""

    name: str
    """``layer 1 (st_lstm)``; of an encoder-forecaster's second stack ``forecaster layer 1 (conv_lstm)``."""
    width: int
    in_channels: int
    parameters: int
    attention: Mapping[str, str]
    """The modules that stand at places of the layer."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a recipe's model needs."""

    in_channels: int
    """Channels of a frame, the known inputs among them."""
    out_channels: int
    height: int
    width: int
    layers: tuple[LayerCount, ...]
    nonstationary: str | None
    """The module that frames go through before the layers, and forecasts after the head."""
    nonstationary_parameters: int
    parameters: int
    """Of all of it."""
    flops_per_window: int
    """Floating-point operations of one forward pass over one window."""
    activation_bytes: int
    """Float32 results that are kept for the backward pass of one batch, as if nothing were fused."""
    training_bytes: int
    """Weights, gradients, two optimiser moments and activations of one batch in float32, over all processes."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def data_shape(config: DataConfig) -> tuple[int, int, int, int]:
    """Channels of the state and of what is forecast, height and width of the recipe's data. Opens the data.

    Raises:
        DataError: if it cannot be opened.
    """
    source = plugins().resolve("datasets", config.dataset.name).load_target().from_config(config.dataset)
    roles = config.roles
    forecast = len(source.variables) - len(roles.forcing) - len(roles.static)
    return forecast - len(roles.target), forecast, source.grid.height, source.grid.width


def dry_run(loaded: LoadedRecipe) -> DryRun:
    """Build the recipe's model without memory and count its parameters, operations and bytes.

    Raises:
        RecipeError: if the model cannot be built.
        DataError: if the data, whose channels and grid it needs, cannot be opened.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from stkit.stacks.build import build_forecaster

    recipe = loaded.recipe
    fields, forecast, height, width = data_shape(recipe.data)
    known = known_channels(recipe)
    nodes = plan(recipe.model, fields + known, known)
    forecaster = build_forecaster(
        recipe.model,
        in_channels=fields + known,
        out_channels=forecast,
        known_channels=known,
        grid=(height, width),
        device="meta",
    )
    crop = recipe.data.crop
    seen = (height, width) if crop is None else (min(crop.height, height), min(crop.width, width))
    steps = recipe.data.input_steps + recipe.data.horizon
    frames = torch.zeros(1, steps, forecast, *seen, device="meta")
    extra = torch.zeros(1, steps, known, *seen, device="meta") if known else None
    kept = _Kept(forecaster.parameters())
    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
        forecaster.rollout(frames, recipe.data.input_steps, known=extra)
    parameters = sum(p.numel() for p in forecaster.parameters())
    activations = kept.bytes * recipe.train.batch_size
    return DryRun(
        in_channels=fields + known,
        out_channels=forecast,
        height=height,
        width=width,
        layers=_layers(forecaster, nodes),
        nonstationary=None if recipe.model.nonstationary is None else recipe.model.nonstationary.name,
        nonstationary_parameters=sum(p.numel() for p in forecaster.nonstationary.parameters()),
        parameters=parameters,
        flops_per_window=counter.get_total_flops(),
        activation_bytes=activations,
        training_bytes=activations + parameters * _FLOAT32_BYTES * (2 + _STATES_OF_ADAM),
    )


class _Kept:
    """Counts what autograd keeps for the backward pass besides parameters; views of one storage count once."""

    def __init__(self, parameters: Iterable[Any]) -> None:
        self.bytes = 0
        self._seen: dict[int, Any] = {}
        for parameter in parameters:  # a part of a kernel is no leaf, and no memory either
            self._seen[parameter.untyped_storage()._cdata] = parameter

    def add(self, tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        # Held on to, so that no later storage is given the same identity.
        if self._seen.setdefault(storage._cdata, storage) is storage and not getattr(tensor, "is_leaf", False):
            self.bytes += storage.nbytes()
        return tensor


def _layers(forecaster: Any, nodes: tuple[NodePlan, ...]) -> tuple[LayerCount, ...]:
    from stkit.stacks.stack import Stack

    cells: list[Any] = [node for module in forecaster.modules() if isinstance(module, Stack) for node in module.nodes]
    counts = []
    for place, cell in enumerate(cells):
        node = nodes[place % len(nodes)]
        second = "forecaster " if place >= len(nodes) else ""
        total = sum(p.numel() for p in cell.parameters())
        name = f"{second}layer {node.layer} ({node.cell.name})"
        attention = {standing.place: standing.module.name for standing in node.attention}
        counts.append(LayerCount(name, node.width, cell.in_channels, total, attention))
    return tuple(counts)
