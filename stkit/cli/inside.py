"""What cells, transitions and architectures remember, for ``stkit info``.

Importing this loads no torch; listing states does.
"""

from __future__ import annotations

from typing import Any

from stkit.plugin.specs import StackSpec

EXAMPLE_WIDTH = 8
_GRID = (16, 16)


def cell_states(spec: Any, config: Any) -> list[str]:
    """Names of what a cell keeps from step to step."""
    from stkit.cells.base import CellSite

    carry_in = {name: port.reads or port.writes for name, port in config.carry_ports(EXAMPLE_WIDTH).items()}
    site = CellSite(EXAMPLE_WIDTH, EXAMPLE_WIDTH, carry_in, _GRID, None, _no_norm, device=_meta())
    return list(spec.load_target().from_config(config, site).initial_state(1, *_GRID, _meta()))


def transition_states(spec: Any, config: Any) -> list[str]:
    """Names of what a transition keeps in the bottom layer that has it."""
    from stkit.cells.base import TransitionSite

    site = TransitionSite(EXAMPLE_WIDTH, EXAMPLE_WIDTH, {}, _GRID, _no_norm, device=_meta())
    return list(spec.load_target().from_config(config(name=spec.name), site).initial_state(1, *_GRID, _meta()))


def layers_of(spec: StackSpec, *, build: bool) -> list[dict[str, Any]]:
    """The layers of an architecture's default variant, bottom to top; with what each keeps where ``build``."""
    from stkit.recipe.alone import model_config
    from stkit.recipe.plan import plan

    model = model_config({"name": spec.qualified_name})
    layers = [
        {
            "layer": node.layer,
            "cell": node.cell.name,
            "transition": None if node.transition is None else node.transition.name,
            "width": node.width,
            "slots": list(node.cell.slots),
            "carries": sorted({**node.cell.carry_ports(node.width), **_carried(node)}),
        }
        for node in plan(model, 1)
    ]
    if build:
        for layer, states in zip(layers, _built(model), strict=False):
            layer["states"] = states
    return layers


def _carried(node: Any) -> dict[str, Any]:
    return {} if node.transition is None else dict(node.transition.carry_ports(node.width))


def _built(model: Any) -> list[list[str]]:
    from stkit.stacks.build import build_forecaster
    from stkit.stacks.stack import Stack

    grid = (_GRID[0] * model.patch, _GRID[1] * model.patch)
    forecaster = build_forecaster(model, in_channels=1, out_channels=1, grid=grid, device="meta")
    stack = next(part for part in forecaster.modules() if isinstance(part, Stack))
    return [list(states) for states in stack.initial_state(1, *_GRID, _meta()).nodes]


def _no_norm(config: Any, site: Any) -> Any:
    from torch import nn

    return nn.Identity()


def _meta() -> Any:
    import torch

    return torch.device("meta")
