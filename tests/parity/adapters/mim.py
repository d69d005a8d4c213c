"""MIM: the authors' TensorFlow code, and OpenSTL's port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from stkit_mim.transition import MIM
from stkit_mim.units import Parts, ReleasedUnit, Unit
from stkit_predrnn.cell import STLSTM
from torch import Tensor

from stkit.cells import StepOut, Tensors
from stkit.interop import mim
from stkit.interop.layout import places_of, prefixed
from stkit.stacks import Forecaster, NextFrame, StackState

from ..golden import Golden, channels_first
from .driving import compare_named_gradients, everything, fill, imported, run_next_frame, weights
from .tensorflow import channel_norm, compare_squares, nchw, squared_loss


class Given(Unit):
    """In place of MIM-N: the D that a file gives from outside."""

    def __init__(self, differences: list[Tensor]) -> None:
        super().__init__()
        self.differences = differences

    def forward(self, signal: Tensor, returning: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.differences.pop(0), memory


def named(out: StepOut) -> dict[str, Tensor]:
    """A step's tensors; MIM's memories without the slot's prefix and in the files' letters."""
    memories = {name.removeprefix("transition.").lower(): v for name, v in out.state.items() if "transition." in name}
    return {**memories, **everything(out)}


def bottom_cell(golden: Golden) -> None:
    """``tf_mim_stlstm_cell_*``."""
    theirs, scope = golden.parameters(), _scope(golden, "cell_reduce/kernel")
    ours = _cell(theirs, scope, None)
    places = places_of(ours, mim.BOTTOM, there=scope, channels_last=True)
    fill(ours, places, theirs)
    loss = compare_squares(golden, _run(golden, ours))
    compare_named_gradients(golden, loss, places, ours)


def block(golden: Golden) -> None:
    """``tf_mim_block_*``: the cell with MIM-S; D comes from outside, and is nothing at the first step."""
    theirs, scope = golden.parameters(), _scope(golden, "time_state_to_state/kernel")
    unit = next(name for name in theirs if name.endswith("oc_weight")).removesuffix("oc_weight")
    gains = theirs[unit + "oc_weight"]
    transition = MIM(
        theirs[scope + "input_to_state/kernel"].shape[2],
        gains.shape[2],
        kernel=theirs[unit + "state_to_state/kernel"].shape[0],
        norm=channel_norm(unit + "state_to_states" in theirs),
        peephole="pixel",
        grid=(gains.shape[0], gains.shape[1]),
        dtype=torch.float64,
    )
    transition.mim_n = Given(_differences(golden, gains.shape[2]))
    ours = _cell(theirs, scope, transition)
    places = places_of(ours, mim.BLOCK, there=scope, channels_last=True)
    places |= prefixed(mim.unit_places(transition.mim_s), unit, "transition.mim_s.")
    fill(ours, places, theirs)
    loss = compare_squares(golden, _run(golden, ours))
    compare_named_gradients(golden, loss, places, ours)


def mim_n(golden: Golden) -> None:
    """``tf_mimn_*``: the unit alone, at its first step, too."""
    theirs, scope = golden.parameters(), _scope(golden, "oc_weight")
    gains = theirs[scope + "oc_weight"]
    kernel = theirs[scope + "input_to_state/kernel"]
    parts = Parts(
        kernel.shape[0], "source", 1.0, channel_norm(scope + "input_to_states" in theirs), None, torch.float64
    )
    grid = (gains.shape[0], gains.shape[1])
    ours = ReleasedUnit(kernel.shape[2], gains.shape[2], parts, peephole="pixel", grid=grid, memory="N")
    places = prefixed(mim.unit_places(ours), scope, "")
    fill(ours, places, theirs)
    batch = golden.take("in.0.x").shape[0]
    d = n = torch.zeros(batch, gains.shape[2], *grid, dtype=torch.float64)
    steps: list[dict[str, Tensor]] = []
    while f"in.{len(steps)}.x" in golden.tensors:
        d, n = ours(nchw(golden.take(f"in.{len(steps)}.x")), d, n)
        steps.append({"d": d, "n": n})
    loss = compare_squares(golden, steps)
    compare_named_gradients(golden, loss, places, ours)


def model(golden: Golden) -> None:
    """``tf_mim_model_*``: the variant ``official``."""
    forecaster, network, places = imported(golden, mim.tensorflow(weights(golden)))

    def find(step: list[StepOut], name: str) -> Tensor:
        layer, _, what = name.removeprefix("stlstm_").partition(".")
        if layer.startswith("diff"):
            return _differential(network, step, int(layer.removeprefix("diff")), what).movedim(1, -1)
        return named(step[int(layer) - 1])[what].movedim(1, -1)

    out = run_next_frame(golden, forecaster, network.stack, find, "out.gen_images_BTHWC")
    loss = squared_loss(golden, out.predictions)
    compare_named_gradients(golden, loss, places, network)


def openstl_model(golden: Golden) -> None:
    """``openstl_mim_model_*``.

    OpenSTL keeps S on the module, cuts its gradient at every step and never resets it. What a fresh model gives, ours
    gives, too; the cut is made here from outside for the gradients, and for the second call with its leaked memory S is
    handed over from outside. Left to itself ours gives the same forecast twice.
    """
    forecaster, network, places = imported(golden, mim.openstl(weights(golden)))
    for n in range(1, len(network.stack.nodes)):
        _cut_s(_transition(network, n))
    if "out.first_call" in golden.tensors:
        _compare_calls(golden, forecaster, network)
        return

    def find(step: list[StepOut], name: str) -> Tensor:
        layer, _, what = name.partition(".")
        if layer.startswith("mimn"):
            return _differential(network, step, int(layer.removeprefix("mimn")) + 1, what)
        return named(step[int(layer.removeprefix("l"))])[what]

    out = run_next_frame(golden, forecaster, network.stack, find)
    loss = F.mse_loss(out.predictions, channels_first(golden.take("in.frames_BTHWC"))[:, 1:])
    golden.compare("out.loss", loss.reshape(1))
    compare_named_gradients(golden, loss, places, network)


def _compare_calls(golden: Golden, forecaster: Forecaster, network: NextFrame) -> None:
    """Two calls: ours are equal. With S of the first handed to the second, that is what OpenSTL's leak makes of it."""
    first = run_next_frame(golden, forecaster, network.stack, frames_out="out.first_call").predictions
    left: list[StackState] = []
    original, start = network.stack.step, network.stack.initial_state

    def step(x: Tensor | None, state: StackState) -> Any:
        out = original(x, state)
        left.append(out.state)
        return out

    network.stack.step = step  # type: ignore[method-assign]
    again = run_next_frame(golden, forecaster, network.stack, frames_out="out.first_call").predictions
    assert again.equal(first)
    assert not torch.allclose(channels_first(golden.take("out.second_call")), first)

    def leaked(*size: Any) -> StackState:
        fresh = start(*size)
        nodes = ({**new, **_s(old)} for new, old in zip(fresh.nodes, left[-1].nodes, strict=True))
        return StackState(tuple(nodes), fresh.carry, fresh.steps)

    network.stack.step = original  # type: ignore[method-assign]
    network.stack.initial_state = leaked  # type: ignore[method-assign]
    run_next_frame(golden, forecaster, network.stack, frames_out="out.second_call")


def _s(state: Tensors) -> Tensors:
    return {name: value for name, value in state.items() if name == "transition.S"}


def _cut_s(transition: MIM) -> None:
    original = transition.forward

    def forward(
        gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        return original(gate, c, x, {**state, "S": state["S"].detach()}, carry)

    transition.forward = forward  # type: ignore[method-assign]


def _differential(network: NextFrame, step: list[StepOut], node: int, what: str) -> Tensor:
    """D or N of a layer. At the first step the original runs MIM-N on zeros and throws the result away."""
    ours = named(step[node])
    if ours["d"].any():
        return ours[what]
    zeros = torch.zeros_like(ours["d"])
    unit = _transition(network, node).mim_n
    return dict(zip("dn", unit(zeros, zeros, zeros), strict=True))[what]


def _cell(theirs: Mapping[str, Tensor], scope: str, transition: MIM | None) -> STLSTM:
    x = theirs[scope + "input_to_state/kernel"]
    return STLSTM(
        x.shape[2],
        x.shape[3] // 4,
        kernel=x.shape[0],
        bias="source",
        norm=channel_norm(scope + "input_to_states" in theirs),
        shared_input_gates=True,
        output_gate_reads="arriving",
        transition=transition,
        dtype=torch.float64,
    )


def _run(golden: Golden, cell: STLSTM) -> list[dict[str, Tensor]]:
    batch, height, width, _ = golden.take("in.0.x").shape
    state = cell.initial_state(batch, height, width, dtype=torch.float64)
    carry = cell.initial_carry(batch, height, width, dtype=torch.float64)
    steps: list[dict[str, Tensor]] = []
    while f"in.{len(steps)}.x" in golden.tensors:
        out = cell.step(nchw(golden.take(f"in.{len(steps)}.x")), state, carry)
        state, carry = out.state, out.carry
        steps.append(named(out))
    return steps


def _differences(golden: Golden, width: int) -> list[Tensor]:
    """The D of each step; zeros where the file has none."""
    found: list[Tensor] = []
    while (x := golden.tensors.get(f"in.{len(found)}.x")) is not None:
        nothing = x.new_zeros(*x.shape[:-1], width)
        found.append(nchw(golden.tensors.get(f"in.{len(found)}.diff_h", nothing)))
    return found


def _transition(network: NextFrame, node: int) -> MIM:
    transition = network.stack.nodes[node].transition
    assert isinstance(transition, MIM)
    return transition


def _scope(golden: Golden, ending: str) -> str:
    return next(name for name in golden.parameters() if name.endswith(ending)).removesuffix(ending)
