"""How the contract handles a module: build, stir, unroll, compare, and look whether it was changed.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells.base import Cell, StepOut, Tensors
from stkit.testing.rules import ContractViolation, Rule
from stkit.testing.strategies import tensor

TOLERANCE = 1e-9
"""Largest difference, relative to the numbers, that float64 arithmetic in another order explains."""


class Trace(NamedTuple):
    """A sequence through a cell: what each step gave, copied at once so that a later step cannot change it."""

    outs: list[StepOut]
    """As they were handed out."""
    ys: list[Tensor]
    """Copies made when they were handed out."""

    @property
    def last(self) -> StepOut:
        """What the last step gave."""
        return self.outs[-1]


def stir(module: nn.Module, seed: int) -> None:
    """Moves every parameter by a little noise, so that nothing is hidden by a weight that starts at zero."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            noise = tensor(seed + number, *parameter.shape, device=parameter.device, dtype=parameter.dtype)
            parameter.add_(noise, alpha=0.2)


def unroll(cell: Cell, xs: Sequence[Tensor], state: Tensors, carry: Tensors) -> Trace:
    """Steps through ``xs`` (each ``B C H W``); the carry of a step returns to the next one where its width fits."""
    outs: list[StepOut] = []
    ys: list[Tensor] = []
    first = carry
    for x in xs:
        out = cell.step(x, state, carry)
        outs.append(out)
        ys.append(out.y.clone())
        state = out.state
        carry = returned(out.carry, first)
    return Trace(outs, ys)


def returned(carry: Tensors, zeros: Tensors) -> Tensors:
    """What a lone cell reads at the next step: its own registers, zeros where it writes other shapes than it reads."""
    return {
        name: carry[name] if name in carry and carry[name].shape == zero.shape else zero for name, zero in zeros.items()
    }


class Unrolled(nn.Module):
    """A cell run over a sequence, as a module whose weights can be replaced."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, xs: Sequence[Tensor], state: Tensors, carry: Tensors) -> StepOut:
        """What the last step gives."""
        cell = self.cell
        assert isinstance(cell, Cell)
        return unroll(cell, xs, state, carry).last


def copied(tensors: Tensors) -> Tensors:
    """Each tensor copied."""
    return {name: value.clone() for name, value in tensors.items()}


def difference(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference relative to the numbers themselves; infinite where shapes or finiteness differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.numel() == 0 or torch.equal(a, b):
        return 0.0
    a, b = a.detach().double(), b.detach().double()
    worst = float((a - b).abs().max() / (1 + b.abs().max()))
    return worst if worst == worst else float("inf")


def require_equal(rule: Rule, subject: str, what: str, a: Tensor, b: Tensor, tolerance: float = TOLERANCE) -> None:
    """Raises the violation where two tensors differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        found = f"{what}: {tuple(a.shape)} {a.dtype} against {tuple(b.shape)} {b.dtype}"
        raise ContractViolation(rule, subject, found)
    worst = difference(a, b)
    if worst > tolerance:
        raise ContractViolation(rule, subject, f"{what} differs by {worst:.1e}")


def floats(tensors: Tensors) -> list[Tensor]:
    """The entries that can have a gradient."""
    return [value for value in tensors.values() if value.is_floating_point()]


Footprint = dict[str, Any]


def footprint(module: nn.Module) -> Footprint:
    """Everything a module keeps: its attributes, and the values of its parameters and buffers."""
    kept: Footprint = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                kept[f"{path}.{name}".lstrip(".")] = _frozen(value)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        kept[name] = value.detach().clone()
    return kept


def changed(before: Footprint, after: Footprint) -> list[str]:
    """Names of what is new, gone or different."""
    return sorted(
        name
        for name in before.keys() | after.keys()
        if name not in before or name not in after or not _same(before[name], after[name])
    )


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_frozen(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return frozenset(value)
    return value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and difference(a, b) == 0
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a is b or a == b)


def gradients(results: Iterable[Tensor], leaves: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """By name, the gradient of a random projection of ``results``; zeros where a leaf does not act."""
    total = torch.zeros((), dtype=torch.float64)
    for number, result in enumerate(results):
        if result.requires_grad:
            total = total + (result * tensor(seed + number, *result.shape, dtype=result.dtype)).sum()
    zeros = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    if not (total.requires_grad and leaves):
        return zeros
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {name: zeros[name] if one is None else one for name, one in zip(leaves, found, strict=True)}


def dead_parameters(module: nn.Module, results: Iterable[Tensor], seed: int) -> list[str]:
    """Names of the parameters that get no gradient from a random projection of ``results``."""
    sizes = {
        name: float(found.abs().max())
        for name, found in gradients(results, dict(module.named_parameters()), seed).items()
    }
    floor = 1e-11 * max(sizes.values(), default=0.0)
    return [name for name, size in sizes.items() if not size > floor]


def gradcheck(run: Callable[..., tuple[Tensor, ...]], leaves: Mapping[str, Tensor]) -> None:
    """Compares gradients with central differences: along a random direction, then by :func:`torch.autograd.gradcheck`.

    All leaves move at once; only where that fails each one moves alone, to name the one at fault.

    Raises:
        ValueError: naming the first leaf whose gradient is another.
        GradcheckError: where only torch finds a difference.
    """
    inputs = [leaf.detach().clone().requires_grad_() for leaf in leaves.values()]
    ways = [tensor(10_000 + place, *leaf.shape, dtype=leaf.dtype) for place, leaf in enumerate(inputs)]
    outputs = run(*inputs)
    weights = [tensor(9_000 + place, *output.shape, dtype=output.dtype) for place, output in enumerate(outputs)]
    gradients = torch.autograd.grad(outputs, inputs, weights, allow_unused=True)

    def slopes(places: Sequence[int]) -> tuple[float, float]:
        said = sum(float((gradients[i] * ways[i]).sum()) for i in places if gradients[i] is not None)
        ends = []
        for step in (1e-6, -1e-6):
            moved = [leaf + step * ways[i] if i in places else leaf for i, leaf in enumerate(inputs)]
            ends.append(sum(float((y.detach() * w).sum()) for y, w in zip(run(*moved), weights, strict=True)))
        return said, (ends[0] - ends[1]) / 2e-6

    def agree(said: float, found: float) -> bool:
        return abs(said - found) <= 1e-5 * (1 + abs(found))

    if not agree(*slopes(range(len(inputs)))):
        for place, name in enumerate(leaves):
            said, found = slopes([place])
            if not agree(said, found):
                raise ValueError(f"along one direction of {name} the gradient says {said:.6g}, differences {found:.6g}")
    sizes = [leaf.numel() for leaf in inputs]

    def run_flat(flat: Tensor) -> tuple[Tensor, ...]:
        parts = torch.split(flat, sizes)
        return run(*(part.view_as(leaf) for part, leaf in zip(parts, inputs, strict=True)))

    flat = torch.cat([leaf.detach().flatten() for leaf in inputs]).requires_grad_()
    torch.autograd.gradcheck(run_flat, (flat,), fast_mode=True, check_undefined_grad=False)
