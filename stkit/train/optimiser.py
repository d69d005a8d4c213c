"""Optimisers, by their names in ``timm.optim``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from stkit.errors import RecipeError, suggest
from stkit.recipe.sections.train import OptimiserConfig

OF_TORCH: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
"""Optimisers for which timm would hand torch's on: nearly all runs use them, and importing timm takes a second."""


def build_optimiser(config: OptimiserConfig, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over the parameters of ``module``. Biases and norms get no weight decay (timm's default).

    Raises:
        RecipeError: the name is not known to timm, or the optimiser does not take a value that is given.
    """
    name = config.name.lower().replace("_", "")
    given = {"betas": config.betas, "eps": config.eps}
    extras: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    try:
        if name in OF_TORCH:
            return OF_TORCH[name](_groups(module, config.weight_decay), lr=config.lr, weight_decay=0.0, **extras)
        return _of_timm(config, name, module, extras)
    except (TypeError, ImportError, AssertionError, ValueError) as error:
        raise RecipeError(f"train.optimiser: {config.name!r} cannot be made from these values: {error}") from error


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters without weight decay, and those with it, as timm groups them."""
    plain: list[nn.Parameter] = []
    decaying: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            spared = not weight_decay or parameter.ndim <= 1 or name.endswith(".bias")
            (plain if spared else decaying).append(parameter)
    pairs = ((plain, 0.0), (decaying, weight_decay))
    return [{"params": parameters, "weight_decay": decay} for parameters, decay in pairs if parameters]


def _of_timm(config: OptimiserConfig, name: str, module: nn.Module, extras: dict[str, Any]) -> torch.optim.Optimizer:
    from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers  # type: ignore[attr-defined]

    known = [str(one) for one in list_optimizers()]
    if name not in known:
        near = suggest(config.name, known, len(known))
        raise RecipeError(f"train.optimiser.name: timm.optim has no optimiser {config.name!r}; {near}")
    info = get_optimizer_info(name)
    if info.second_order:
        raise RecipeError(
            f"train.optimiser.name: {config.name!r} needs second derivatives, which training does not make"
        )
    # timm drops what the optimiser does not take; here an option that would do nothing is refused.
    if config.eps is not None and not info.has_eps:
        raise RecipeError(f"train.optimiser.eps: {config.name!r} has none")
    if config.betas is not None and not (info.has_betas and info.num_betas == len(config.betas)):
        has = f"{info.num_betas} of them" if info.has_betas else "none"
        raise RecipeError(f"train.optimiser.betas: {config.name!r} has {has}; received {list(config.betas)}")
    optimiser: torch.optim.Optimizer = create_optimizer_v2(
        module, opt=name, lr=config.lr, weight_decay=config.weight_decay, **extras
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
