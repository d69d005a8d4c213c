"""How the contract captures graphs: a cell's step by ``torch.compile``, a whole forecast by ``torch.export``.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import config as jaxtyping
from torch import Tensor, nn

from stkit.cells.base import Cell, StepOut, Tensors
from stkit.stacks.forecaster import Forecaster
from stkit.testing._drive import floats, gradients, returned


@contextmanager
def capturing() -> Iterator[None]:
    """Nothing is captured before, nothing is left behind; a graph has no place for checks of annotations."""
    checked = jaxtyping.jaxtyping_disable
    jaxtyping.update("jaxtyping_disable", True)
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()
        jaxtyping.update("jaxtyping_disable", checked)


def run(step: Callable[..., StepOut], xs: Sequence[Tensor], state: Tensors, carry: Tensors) -> list[StepOut]:
    """What each step gives; the first one may be compiled, the later ones find it compiled.

    Raises:
        RuntimeError: if a compiled step does not fit the next time step.
    """
    outs: list[StepOut] = []
    first = carry
    for place, x in enumerate(xs):
        with torch.compiler.set_stance("fail_on_recompile" if place else "default"):
            outs.append(step(x, state, carry))
        state, carry = outs[-1].state, returned(outs[-1].carry, first)
    return outs


def compiled(cell: Cell, backend: str) -> Callable[..., StepOut]:
    """The cell's step as one graph."""
    step: Callable[..., StepOut] = torch.compile(cell.step, backend=backend, fullgraph=True)
    return step


def signed(tensors: Tensors, like: Mapping[str, Tensor]) -> Tensors:
    """Copies that require a gradient where ``like`` does: zeros as they would arrive from an earlier step."""
    return {
        name: value.detach().clone().requires_grad_(name in like and like[name].requires_grad)
        for name, value in tensors.items()
    }


def turned(state: Tensors, other: Tensors) -> str:
    """Names of the entries of which only one of the two requires a gradient."""
    return ", ".join(
        sorted(name for name in state if name in other and state[name].requires_grad != other[name].requires_grad)
    )


def told(outs: Sequence[StepOut], leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor of every step by name, and the gradients of the last step with respect to ``leaves``."""
    found: dict[str, Tensor] = {}
    for step, out in enumerate(outs):
        found[f"y of step {step}"] = out.y
        found |= {f"state '{name}' of step {step}": value for name, value in out.state.items()}
        found |= {f"register '{name}' of step {step}": value for name, value in out.carry.items()}
    last = [outs[-1].y, *floats(outs[-1].carry)]
    return found | {f"the gradient of {name}": value for name, value in gradients(last, leaves, 0).items()}


class Forecast(nn.Module):
    """A forecaster with a horizon: what is exported."""

    def __init__(self, forecaster: Forecaster, horizon: int) -> None:
        super().__init__()
        self.forecaster = forecaster
        self.horizon = horizon

    def forward(self, context: Tensor) -> Tensor:
        """``B T C H W -> B horizon C H W``."""
        forecast: Tensor = self.forecaster(context, self.horizon)
        return forecast


def exported(forecaster: Forecaster, context: Tensor, horizon: int, *, any_grid: bool) -> Callable[[Tensor], Tensor]:
    """The forecast as a graph for any batch and, where ``any_grid``, any grid.

    Args:
        forecaster: what is exported.
        context: ``B T C H W``, an example of at least two samples; its ``T`` is that of the graph.
        horizon: of the graph.
        any_grid: height and width are free, too.
    """
    free: Any = torch.export.Dim.DYNAMIC
    axes = {0: free, 3: free, 4: free} if any_grid else {0: free}
    with torch.no_grad():
        program = torch.export.export(Forecast(forecaster, horizon), (context,), dynamic_shapes={"context": axes})
    return program.module()
