"""How the adapters run a cell over a file's steps, and a model over its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from stkit.cells import Cell, NormFactory, StepOut
from stkit.interop.architecture import Architecture
from stkit.interop.layout import Places, theirs_of, values_of
from stkit.interop.weights import Weights
from stkit.modules.norm.norms import PixelNorm
from stkit.stacks import Forecaster, NextFrame, RolloutOut, Stack

from ..golden import Golden, Unfitting, channels_first, load


def fill(module: nn.Module, places: Places, theirs: Mapping[str, Tensor]) -> None:
    """Put their values into a module; each of them must have a place, and each place a value."""
    if places.keys() != theirs.keys():
        raise Unfitting(
            f"without a value: {places.keys() - theirs.keys()}; without a place: {theirs.keys() - places.keys()}"
        )
    load(module, values_of(places, theirs))


def imported(golden: Golden, architecture: Architecture) -> tuple[Forecaster, NextFrame, Places]:
    """The model that the importer makes of the file's parameters, and where they are in it."""
    forecaster = architecture.build(dtype=torch.float64)
    network = forecaster.network
    assert isinstance(network, NextFrame)
    values = architecture.values(weights(golden), forecaster)
    load(network, {name.removeprefix("network."): value for name, value in values.items()})
    return forecaster, network, architecture.places(network)


def weights(golden: Golden) -> Weights:
    """The file's parameters as the importer takes them."""
    return Weights(golden.parameters(), golden.path.name)


Named = Callable[[StepOut], Mapping[str, Tensor]]
"""The tensors of a step by the names that the files use."""


def everything(out: StepOut) -> dict[str, Tensor]:
    """A step's states, carried registers and by-products under their own names."""
    return {**out.state, **out.carry, **out.aux}


def run_cell(
    golden: Golden, cell: Cell, state: Iterable[str], carry: Iterable[str], named: Named = everything
) -> Tensor:
    """Step through ``in.<t>.x`` and hold every recorded tensor against ours. Returns the file's loss, ours."""
    states = {name: golden.take(f"in.{name}") for name in state}
    carried = {name: golden.take(f"in.{name}") for name in carry}
    loss = torch.zeros((), dtype=torch.float64)
    t = 0
    while f"in.{t}.x" in golden.tensors:
        out = cell.step(golden.take(f"in.{t}.x"), states, carried)
        states, carried = out.state, out.carry
        ours = named(out)
        for name in golden.names(f"step.{t}."):
            golden.compare(name, ours[name.removeprefix(f"step.{t}.")])
            loss = loss + ours[name.removeprefix(f"step.{t}.")].square().sum() / (t + 1)
        t += 1
    golden.compare("out.loss_sumsq", loss.reshape(1))
    return loss


Find = Callable[[list[StepOut], str], Tensor]
"""What ours is of the name ``<layer>.<state>``, among what the nodes gave in one step."""


def by_layer(step: list[StepOut], name: str) -> Tensor:
    """``l<layer>.<state>``, where every node is a layer."""
    layer, _, what = name.partition(".")
    return everything(step[int(layer.removeprefix("l"))])[what]


def run_next_frame(
    golden: Golden,
    forecaster: Forecaster,
    stack: Stack,
    find: Find = by_layer,
    frames_out: str = "out.next_frames_BTHWC",
) -> RolloutOut:
    """Roll out over ``in.frames_BTHWC`` and hold frames and every layer's recorded tensors against ours.

    The mask is for the last of the ``T - 2`` tokens; before them the true frames were shown. So scheduled sampling,
    whose mask covers the forecast part, and reverse scheduled sampling, whose mask covers all, are one case.
    """
    frames = channels_first(golden.take("in.frames_BTHWC"))
    mask = golden.take("in.mask_BTHWC")
    batch, steps = frames.shape[:2]
    drawn = mask.flatten(2)[..., 0].bool()
    assert torch.equal(mask, drawn[:, :, None, None, None].to(mask).expand_as(mask)), "a mask covers whole frames"
    shown = torch.ones(batch, steps - 2 - drawn.shape[1], dtype=torch.bool)
    tokens = torch.cat([shown, drawn], dim=1)

    recorded: list[StepOut] = []
    handles = [_record(node, place, recorded) for place, node in enumerate(stack.nodes) if isinstance(node, Cell)]
    out = forecaster.rollout(frames, max(steps - 1 - drawn.shape[1], 1), tokens=tokens)
    for restore in handles:
        restore()
    for t in range(steps - 1):
        for name in golden.names(f"step.{t}."):
            step = recorded[t * len(handles) : (t + 1) * len(handles)]
            golden.compare(name, find(step, name.removeprefix(f"step.{t}.")))
    golden.compare(frames_out, out.predictions.movedim(2, -1))
    return out


def compare_gradients(
    golden: Golden, loss: Tensor, theirs: Callable[[dict[str, Tensor]], dict[str, Tensor]], *modules: nn.Module
) -> None:
    """Hold the gradients of all parameters against the file's, under the file's names."""
    parameters = {name: value for module in modules for name, value in module.named_parameters()}
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    for name, gradient in theirs(dict(zip(parameters, gradients, strict=True))).items():
        golden.compare(f"grad.{name}", gradient)


def compare_named_gradients(golden: Golden, loss: Tensor, places: Places, module: nn.Module) -> None:
    """:func:`compare_gradients` of a module whose parameters have these places."""
    compare_gradients(golden, loss, lambda found: theirs_of(places, found), module)


def pixel_norm(gains: Tensor | None) -> NormFactory | None:
    """The norm whose gains the file has: torch's layer norm over channels and grid."""
    if gains is None:
        return None
    grid = tuple(gains.shape[1:])
    return lambda channels: PixelNorm(channels, grid, dtype=torch.float64)


def _record(node: Cell, place: int, recorded: list[StepOut]) -> Callable[[], None]:
    original = node.step

    def step(x: Tensor | None, state: dict[str, Tensor], carry: dict[str, Tensor]) -> StepOut:
        out = original(x, state, carry)
        recorded.append(out)
        return out

    node.step = step
    return lambda: delattr(node, "step")
