"""Optimisers of ``timm.optim``, by their names there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from stkit.errors import RecipeError
from stkit.recipe.sections.train import OptimiserConfig


def build_optimiser(config: OptimiserConfig, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over the parameters of ``module``. Biases and norms get no weight decay (timm's default).

    Raises:
        RecipeError: the name is not known to timm, or the optimiser takes no ``betas`` or ``eps``.
    """
    from timm.optim import create_optimizer_v2, list_optimizers  # type: ignore[attr-defined]

    known = [str(name) for name in list_optimizers()]
    name = config.name.lower().replace("_", "")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(
            f"train.optimiser.name: timm.optim has no optimiser {config.name!r}{hint}\n  known: {', '.join(known)}"
        )
    extras: dict[str, Any] = {}
    if config.betas is not None:
        extras["betas"] = config.betas
    if config.eps is not None:
        extras["eps"] = config.eps
    try:
        optimiser: torch.optim.Optimizer = create_optimizer_v2(
            module, opt=name, lr=config.lr, weight_decay=config.weight_decay, **extras
        )
    except (TypeError, ImportError, AssertionError) as error:
        raise RecipeError(f"train.optimiser: {config.name!r} cannot be made from these values: {error}") from error
    if getattr(optimiser, "is_second_order", False):
        raise RecipeError(
            f"train.optimiser.name: {config.name!r} needs second derivatives, which training does not make"
        )
    return optimiser


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of every group (times the group's own ``lr_scale``, where timm gave it one)."""
    for group in optimiser.param_groups:
        group["lr"] = value * group.get("lr_scale", 1.0)


def parameter_names(optimiser: torch.optim.Optimizer, module: nn.Module) -> list[list[str]]:
    """For each group, the names in ``module`` of its parameters: what an optimiser's saved state belongs to."""
    names: Mapping[int, str] = {id(parameter): name for name, parameter in module.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimiser.param_groups]
