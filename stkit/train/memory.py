"""How much memory training takes at each level of recomputation, and the cheapest level that fits a limit.

Short rollouts are taken on the batch of the first step. What one more step of the context and of the forecast adds, to
what is kept and to the peak, is the same at every step, so the peak of the whole rollout is that of the short one and
what the other steps add, with a margin. To it come weights, averaged weights and the optimiser's state.

Axes: ``B`` batch, ``T`` time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stkit.errors import UsageError
from stkit.stacks.recompute import LEVELS, Level
from stkit.train.held import watch
from stkit.train.objective import Objective

if TYPE_CHECKING:
    from stkit.recipe.model import Recipe

GB = 10**9
_SHORT = 3
"""Steps of the context, and of the forecast, of a short rollout."""
_MARGIN = 1.05
"""What an estimate of a rollout is multiplied by."""


def choose_level(recipe: Recipe, needs: Callable[[Level], int]) -> tuple[Level, dict[str, Any]]:
    """What is computed again, and what ``run.json`` says of it.

    Args:
        recipe: with or without ``memory_limit_gb`` and ``recompute``.
        needs: bytes that training takes at a level.

    Raises:
        UsageError: not even the level that needs least, or that the recipe insists on, fits.
    """
    limit, wanted = recipe.train.memory_limit_gb, recipe.train.recompute
    if limit is None:
        level: Level = wanted or "none"
        return level, {"recompute": level}
    tried: dict[Level, int] = {}
    for level in LEVELS if wanted is None else (wanted,):
        tried[level] = needs(level)
        if tried[level] <= limit * GB:
            return level, {"limit_gb": limit, "recompute": level, "estimated_gb": round(tried[level] / GB, 4)}
    least = min(tried.values())
    what = "even where everything is computed again" if wanted is None else f"with train.recompute: {wanted}"
    raise UsageError(
        f"train.memory_limit_gb: {limit:g} GB are given, but training takes {_rounded_up(least)} GB here {what}; raise "
        "it, or lower train.batch_size, raise train.accumulate, set data.crop or make the model smaller"
    )


def training_bytes(
    objective: Objective, batch: Mapping[str, Tensor], *, sampled: bool, level: Level, besides: int, world: int
) -> int:
    """What a training step takes of one process at its highest, in tensors on its device.

    Args:
        objective: model and loss; their gradients are dropped.
        batch: of one backward pass, ``B T ...``.
        sampled: whether sampling decides which frames are shown.
        level: what is computed again.
        besides: bytes of averaged weights and of the optimiser's state.
        world: processes; several hold the gradients twice, to exchange them.
    """
    context, frames = objective.context_steps, batch["frames"].shape[1]
    ahead = frames - context
    short = min(context, _SHORT), min(ahead, _SHORT)
    first = _rollout(objective, batch, *short, sampled=sampled, level=level)
    base = _rollout(objective, batch, *short, sampled=sampled, level=level)
    peak = max(base)
    for_good = max(max(first) - peak, 0)  # what an engine makes once and uses again
    for place, whole in enumerate((context, ahead)):
        if whole > short[place]:
            longer = [length + (place == axis) for axis, length in enumerate(short)]
            more = _rollout(objective, batch, *longer, sampled=sampled, level=level)
            added = max(new - old for new, old in zip(more, base, strict=True))
            peak += max(added, 0) * (whole - short[place])
    peak = round(peak * _MARGIN)
    weights = sum(_bytes(part) for part in objective.state_dict().values())
    gradients = sum(_bytes(part) for part in objective.parameters() if part.requires_grad)
    if world > 1:
        peak += gradients
    whole_batch = sum(_bytes(part) for part in batch.values())
    # While the optimiser moves, the rollout is gone, and there are the gradients and what is made of them.
    return weights + besides + whole_batch + for_good + max(peak, 2 * gradients)


def optimiser_share(build: Callable[[nn.Module], torch.optim.Optimizer]) -> float:
    """Bytes of state that an optimiser keeps for each byte of weights, seen on a small module."""
    module = nn.Linear(16, 16)
    optimiser = build(module)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    kept = sum(
        _bytes(value) for state in optimiser.state.values() for value in state.values() if isinstance(value, Tensor)
    )
    return kept / sum(_bytes(parameter) for parameter in module.parameters())


def _rollout(
    objective: Objective, batch: Mapping[str, Tensor], context: int, ahead: int, *, sampled: bool, level: Level
) -> tuple[int, int, int]:
    """Of a rollout on the first frames of a batch: bytes at the highest of its forward pass, at its end, and of all."""
    steps = context + ahead
    cut = {name: value[:, : steps - 1 if name == "base" else steps] for name, value in batch.items()}
    frames = cut["frames"]
    tokens = None
    if sampled and objective.forecaster.network.predicts_context:
        tokens = torch.ones(frames.shape[0], steps - 2, dtype=torch.bool, device=frames.device)
    short = Objective(objective.forecaster, objective.loss, context, recompute=level)
    objective.loss.eval()  # a loss whose weights change while it trains need not know of a step
    gpus = [frames.device] if frames.device.type == "cuda" else []
    with torch.random.fork_rng(gpus), watch(frames.device) as held:
        terms = short(cut, tokens)
        loss = sum(value for value, _ in terms.values())
        del terms
        forward, kept = held.reading()
        loss.backward()
        del loss
        objective.zero_grad(set_to_none=True)
    objective.loss.train()
    return forward, kept, held.most


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _rounded_up(size: int) -> str:
    """In GB, so that a limit of that many is enough."""
    digits = max(0, 2 - len(str(size // GB)) + (4 if size < GB else 1))
    scale: int = 10**digits
    return f"{-(-size * scale // GB) / scale:g}"
