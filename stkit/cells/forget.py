"""The forget gate, the transition that a cell has if a recipe names no other.

Axes: ``B`` batch, ``C`` channels, then the grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stkit.cells import gated, observe
from stkit.cells.base import Tensors, Transition, TransitionSite
from stkit.modules.transition.config import ForgetConfig


class Forget(Transition):
    """``keep = sigmoid(f + bias) . C_{t-1}``. It has no parameters and remembers nothing.

    Args:
        bias: added to the pre-activation.
    """

    def __init__(self, bias: float = 1.0) -> None:
        super().__init__()
        self.bias = bias

    @classmethod
    def from_config(cls, config: ForgetConfig, site: TransitionSite) -> Forget:
        """As a recipe says it."""
        return cls(config.bias)

    def forward(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        """``gate`` and ``c``: ``B C *grid``.

        Raises:
            ValueError: if there is no gate.
        """
        return observe.gate(self, "C", torch.sigmoid(_given(gate) + self.bias)) * c, state, carry

    def update(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors, *, i: Tensor, g: Tensor
    ) -> tuple[Tensor, Tensors, Tensors]:
        """As what :meth:`forward` keeps, ``+ s(i) . tanh(g)``, in one.

        Raises:
            ValueError: if there is no gate.
        """
        gate = _given(gate)
        observe.forget(self, "C", gate, self.bias)
        return gated.memory(gate, c, i, g, forget_bias=self.bias), {}, carry

    def extra_repr(self) -> str:
        """The bias, for ``print(model)``."""
        return f"bias={self.bias}"


def _given(gate: Tensor | None) -> Tensor:
    if gate is None:
        raise ValueError("the forget gate needs its pre-activation")
    return gate
