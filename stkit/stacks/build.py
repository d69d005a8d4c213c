"""From a model section to a forecaster.

Axes: ``H`` height, ``W`` width of the data's grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from stkit.cells.attached import Attached
from stkit.cells.attachment import Attachment, AttachmentSite
from stkit.cells.base import Cell, CellSite, HeadSite, NormSite, Transition, TransitionSite
from stkit.plugin.config import ComponentConfig
from stkit.plugin.manager import plugins
from stkit.recipe.alone import model_config
from stkit.recipe.places import Standing
from stkit.recipe.plan import NodePlan, plan, plan_forecaster
from stkit.recipe.problem import refusal
from stkit.recipe.sections.model import EncoderForecaster as EncoderForecasterConfig
from stkit.recipe.sections.model import ModelConfig
from stkit.stacks.engine import set_engine
from stkit.stacks.forecaster import Forecaster
from stkit.stacks.nonstationary import NonStationary, NonStationarySite
from stkit.stacks.rollout import EncoderForecaster, NextFrame, Rollout
from stkit.stacks.stack import Stack


def build(
    name: str,
    *,
    variant: str | None = None,
    in_channels: int = 1,
    out_channels: int | None = None,
    grid: tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **overrides: Any,
) -> Forecaster:
    """A registered architecture as a forecaster.

    .. code-block:: python

        forecaster = stkit.build("predrnn", in_channels=1, layers=[32, 32], patch=2)
        forecast = forecaster(torch.zeros(8, 10, 1, 64, 64), horizon=10)      # 8 10 1 64 64

    Args:
        name: of the architecture, as ``stkit list`` shows it.
        variant: of the architecture; None: its default.
        in_channels: channels of the frames given.
        out_channels: channels forecast; None: as many as are given.
        grid: height and width of the data, for weights that belong to grid cells; None: the model fits any grid.
        device: of the parameters.
        dtype: of the parameters.
        overrides: what to change in the architecture, as in a recipe's ``model`` section.

    Raises:
        RecipeError: if the architecture, the variant or a value is not known, or the layers do not fit each other.
    """
    values = {"name": name, **({} if variant is None else {"variant": variant}), **overrides}
    return build_forecaster(
        model_config(values),
        in_channels=in_channels,
        out_channels=in_channels if out_channels is None else out_channels,
        grid=grid,
        device=device,
        dtype=dtype,
    )


def build_forecaster(
    model: ModelConfig,
    *,
    in_channels: int,
    out_channels: int,
    known_channels: int | None = None,
    grid: tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Forecaster:
    """The forecaster that a recipe's ``model`` section describes.

    Args:
        model: the section.
        in_channels: channels of the frames given, the known inputs among them.
        out_channels: channels forecast.
        known_channels: how many of ``in_channels`` are known inputs; None: as many as are not forecast.
        grid: height and width of the data, for weights that belong to grid cells; None: the model fits any grid.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        RecipeError: if the layers do not fit each other, or a part cannot be built where it stands.
    """
    folded = None if grid is None else (-(-grid[0] // model.patch), -(-grid[1] // model.patch))
    builder = _Builder(folded, None if device is None else torch.device(device), dtype)
    known_channels = max(in_channels - out_channels, 0) if known_channels is None else known_channels
    stack = builder.stack(plan(model, in_channels, known_channels, folded))
    head = builder.head(model.head, stack.widths, out_channels * model.patch**2)
    rollout: Rollout
    if isinstance(model.rollout, EncoderForecasterConfig):
        rollout = EncoderForecaster(stack, builder.stack(plan_forecaster(model, known_channels)), head)
    else:
        rollout = NextFrame(stack, head)
    forecaster = Forecaster(
        rollout,
        in_channels=in_channels,
        out_channels=out_channels,
        known_channels=known_channels,
        patch=model.patch,
        nonstationary=builder.nonstationary(model.nonstationary, in_channels - known_channels, grid),
    )
    try:
        set_engine(forecaster, model.engine)
    except ValueError as error:
        raise refusal(str(error), ("model", "engine")) from error
    return forecaster


class _Builder:
    """Makes the parts for one grid, device and kind of number."""

    def __init__(self, grid: tuple[int, int] | None, device: torch.device | None, dtype: torch.dtype | None) -> None:
        self.grid, self.device, self.dtype = grid, device, dtype

    def stack(self, nodes: Sequence[NodePlan]) -> Stack:
        return Stack([self.cell(node) for node in nodes])

    def cell(self, node: NodePlan) -> Cell:
        def transition(site: TransitionSite) -> Transition:
            built: Transition = _target("modules", node.transition, "transition").from_config(node.transition, site)
            built.attach({s.place: self.attention(s) for s in node.attention if s.at.inside})
            return built

        site = CellSite(
            in_channels=node.in_channels,
            width=node.width,
            carry_in=node.carry_in,
            grid=self.grid,
            transition=None if node.transition is None else transition,
            norms=_norm,
            device=self.device,
            dtype=self.dtype,
        )
        try:
            cell: Cell = _target("cells", node.cell).from_config(node.cell, site)
            outside = [s for s in node.attention if not s.at.inside]
            if not outside:
                return cell
            return Attached(
                cell,
                pre={s.place: self.attention(s) for s in outside if s.before},
                post={s.place: self.attention(s) for s in outside if not s.before},
            )
        except ValueError as error:
            where = ("model", "layers", node.layer - 1)
            raise refusal(f"layer {node.layer} ({node.cell.name}): {error}", where) from error

    def attention(self, standing: Standing) -> Attachment:
        site = AttachmentSite(standing.channels, self.device, self.dtype, standing.at.depth)
        built: Attachment = _target("modules", standing.module, "attention").from_config(standing.module, site)
        return built

    def nonstationary(
        self, config: ComponentConfig | None, channels: int, grid: tuple[int, int] | None
    ) -> NonStationary | None:
        """Works on the data's own grid, not on patches."""
        if config is None:
            return None
        site = NonStationarySite(channels, grid, self.device, self.dtype)
        try:
            module: NonStationary = _target("modules", config, "nonstationary").from_config(config, site)
        except ValueError as error:
            raise refusal(f"{config.name}: {error}", ("model", "nonstationary")) from error
        return module

    def head(self, config: ComponentConfig, widths: tuple[int, ...], channels: int) -> nn.Module:
        site = HeadSite(widths, channels, self.grid, self.device, self.dtype)
        try:
            head: nn.Module = _target("modules", config, "head").from_config(config, site)
        except ValueError as error:
            raise refusal(f"the head {config.name}: {error}", ("model", "head")) from error
        return head


def _norm(config: ComponentConfig, site: NormSite) -> nn.Module:
    norm: nn.Module = _target("modules", config, "norm").from_config(config, site)
    return norm


def _target(kind: str, config: ComponentConfig | None, slot: str | None = None) -> Any:
    assert config is not None
    return plugins().resolve(kind, config.name, slot=slot).load_target()
