"""Small nodes with what other architectures need of a stack: other widths, registers, depths, histories."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn, sigmoid, tanh

from stkit.api import CarryPort
from stkit.cells import Cell, Forget, GateBlock, Source, StepOut, Tensors, Transition, slices


class Highway(Cell):
    """``z = s . tanh(p) + (1 - s) . z'``: a unit between layers that leaves the registers alone."""

    carry_spec: Mapping[str, CarryPort] = {}
    out_key = "z"

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, width
        self.gates = GateBlock(
            width, {"x": Source.of(in_channels, "p s"), "z": Source.of(width, "p s")}, kernel=3, dtype=torch.float64
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: object = None, dtype: object = None
    ) -> Tensors:
        return {"z": torch.zeros(batch, self.out_channels, height, width, device=device, dtype=dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        a = self.gates(x=x, z=state["z"])
        s = sigmoid(a["s"])
        z = s * tanh(a["p"]) + (1 - s) * state["z"]
        return StepOut(z, {"z": z}, carry, {})


class Zigzag(Cell):
    """A cell whose register ``m`` may arrive with another width than its own, as in Causal LSTM."""

    def __init__(
        self, in_channels: int, width: int, m_in: int, *, transition: Transition | None = None, depth: int = 0
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, width
        self.input_depth = self.output_depth = depth
        self.transition = Forget() if transition is None else transition
        self.carry_spec = {"m": CarryPort(reads=m_in, writes=width, depth=depth), **self.transition.carry_spec}
        gates = "i f g m" if self.transition.needs_gate else "i g m"
        self.gates = GateBlock(
            width,
            {"x": Source.of(in_channels, gates), "h": Source.of(width, gates), "m": Source.of(m_in, "m")},
            kernel=(2, 3, 3) if depth else 3,
            dtype=torch.float64,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: object = None, dtype: object = None
    ) -> Tensors:
        size = (batch, self.out_channels, *slices(self.output_depth), height, width)
        own = {name: torch.zeros(size, device=device, dtype=dtype) for name in "hc"}
        return {**own, **self.transition.zeros(batch, height, width, device, dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        a = self.gates(x=x, h=state["h"], m=carry["m"])
        keep, kept, carry = self.transition.keep(a.get("f"), state["c"], x, state, carry)
        c = keep + sigmoid(a["i"]) * tanh(a["g"])
        m = tanh(a["m"])
        h = tanh(c) * sigmoid(m)
        return StepOut(h, {"h": h, "c": c, **self.transition.remember(c, kept)}, {**carry, "m": m}, {})


class Differencing(Transition):
    """Keeps the memory by what changed in the input, or by what the layer below hands on in the register ``d``.

    At the first step nothing has changed: a flag in the state says so, so that the keys are the same at every step.
    """

    needs_gate = False

    def __init__(self, in_channels: int, width: int, *, below: bool) -> None:
        super().__init__()
        self.in_channels, self.below = in_channels, below
        self.carry_spec = {"d": CarryPort(reads=width, writes=width, optional=True)}
        source = width if below else in_channels
        self.gates = GateBlock(width, {"dx": Source.of(source, "d t")}, kernel=3, dtype=torch.float64)

    def initial_state(
        self, batch: int, height: int, width: int, device: object = None, dtype: object = None
    ) -> Tensors:
        return {
            "x": torch.zeros(batch, self.in_channels, height, width, device=device, dtype=dtype),
            "started": torch.zeros(batch, 1, 1, 1, device=device, dtype=dtype),
        }

    def forward(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        assert gate is None
        assert x is not None
        assert ("d" in carry) == self.below
        a = self.gates(dx=carry["d"] if self.below else x - state["x"])
        d = state["started"] * tanh(a["d"])
        return sigmoid(a["t"]) * c + d, {"x": x, "started": torch.ones_like(state["started"])}, {**carry, "d": d}


class Window(Cell):
    """The last frames on an axis of their own: ``B C H W -> B C D H W``."""

    carry_spec: Mapping[str, CarryPort] = {}
    out_key = "frames"

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels
        self.output_depth = depth

    def initial_state(
        self, batch: int, height: int, width: int, device: object = None, dtype: object = None
    ) -> Tensors:
        size = (batch, self.in_channels, self.output_depth, height, width)
        return {"frames": torch.zeros(size, device=device, dtype=dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        assert x is not None
        frames = torch.cat([state["frames"][:, :, 1:], x[:, :, None]], 2)
        return StepOut(frames, {"frames": frames}, carry, {})


class Recalling(Transition):
    """Attends to the memories of the last steps, which :meth:`commit` appends."""

    def __init__(self, width: int, depth: int, span: int) -> None:
        super().__init__()
        self.width, self.depth, self.span = width, depth, span

    def initial_state(
        self, batch: int, height: int, width: int, device: object = None, dtype: object = None
    ) -> Tensors:
        size = (batch, self.width, self.span * self.depth, height, width)
        return {"history": torch.zeros(size, device=device, dtype=dtype)}

    def forward(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        assert gate is not None
        query, past = (v.flatten(2).transpose(1, 2) for v in (sigmoid(gate), state["history"]))
        recalled = nn.functional.scaled_dot_product_attention(query, past, past, scale=1.0)
        return c + recalled.transpose(1, 2).reshape(c.shape), state, carry

    def commit(self, c_new: Tensor, state: Tensors) -> Tensors:
        return {"history": torch.cat([state["history"], c_new], 2)[:, :, self.depth :]}


class DepthHead(nn.Module):
    """``B C D H W -> B O H W``."""

    def __init__(self, width: int, depth: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(width, out_channels, (depth, 1, 1), dtype=torch.float64)

    def forward(self, hidden: tuple[Tensor, ...]) -> Tensor:
        frame: Tensor = self.convolution(hidden[-1]).squeeze(2)
        return frame
