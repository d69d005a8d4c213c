"""Who computes in ``benchmarks/gpu.py``: OpenSTL, stkit launch by launch, and stkit by graphs, in one precision.

Axes: ``B`` batch, ``T`` time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import openstl_models as openstl
import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.stacks.captured import Captured, Forecasts

STEPS = openstl.STEPS
PRECISIONS = ("bf16", "tf32", "fp32")
GRAPH = "stkit graph"

Run = Callable[[], Any]


class Side(NamedTuple):
    """Who computes."""

    name: str
    runs: dict[str, Run]
    recording: Callable[[], float]
    """Seconds that recording graphs has taken."""


@contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """Let products and convolutions compute in it."""
    allowed = "ieee" if name == "fp32" else "tf32"
    parts = (torch.backends.cuda.matmul, torch.backends.cudnn.conv) if device.type == "cuda" else ()
    before = [part.fp32_precision for part in parts]
    for part in parts:
        part.fp32_precision = allowed
    cast = torch.autocast(device.type, torch.bfloat16) if name == "bf16" else nullcontext()
    try:
        with cast:
            yield
    finally:
        for part, kept in zip(parts, before, strict=True):
            part.fp32_precision = kept


def networks(model: str, hidden: int, size: int, device: torch.device) -> tuple[Any, Any]:
    """OpenSTL's and stkit's, with the same weights where they can have them."""
    network = openstl.theirs(model, hidden, 5, size)
    forecaster = openstl.ours(model, hidden, 5, size, network)
    return network.to(device), forecaster.to(device)


def their_side(network: Any, frames: Tensor, name: str) -> Side:
    """OpenSTL, launch by launch."""
    patches = openstl.folded(frames)
    mask = sampled(frames)[:, STEPS - 1 :, None, None, None].float().expand_as(patches[:, STEPS + 1 :]).contiguous()
    nothing = torch.zeros_like(mask)

    def train() -> None:
        network.zero_grad(set_to_none=True)
        openstl.forget(network)
        with precision(name, frames.device):
            loss = F.mse_loss(network(patches, mask, return_loss=False)[0].float(), patches[:, 1:])
        loss.backward()

    @torch.no_grad()
    def forecast() -> None:
        openstl.forget(network)
        with precision(name, frames.device):
            network(patches, nothing, return_loss=False)

    return Side("openstl", {"forecast": forecast, "train": train}, lambda: 0.0)


def sampled(frames: Tensor) -> Tensor:
    """Which frames a training shows: ``B T-2``, all of the context."""
    steps = frames.shape[1] - 2
    shown = torch.rand(frames.shape[0], steps, generator=torch.Generator().manual_seed(2)) < 0.5
    shown[:, : STEPS - 1] = True
    return shown.to(frames.device)


def slopes(forecaster: Any, frames: Tensor, shown: Tensor) -> Tensor:
    """A training step; gradients are added to those that are there."""
    out = forecaster.rollout(frames, STEPS, tokens=shown)
    loss = F.mse_loss(out.predictions.float(), frames[:, out.first :])
    loss.backward()
    return loss.detach()


def our_sides(forecaster: Any, frames: Tensor, name: str) -> Iterator[Side]:
    """stkit launch by launch, and, on a GPU, by graphs."""
    shown, device = sampled(frames), frames.device
    context = frames[:, :STEPS].contiguous()

    def train() -> None:
        forecaster.zero_grad(set_to_none=True)
        with precision(name, device):
            slopes(forecaster, frames, shown)

    @torch.no_grad()
    def forecast() -> None:
        with precision(name, device):
            forecaster(context, STEPS)

    if name == PRECISIONS[0] or device.type != "cuda":
        yield Side("stkit", {"forecast": forecast, "train": train}, lambda: 0.0)
    if device.type != "cuda":
        return

    def step(frames: Tensor, shown: Tensor) -> Tensor:
        for parameter in forecaster.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
        return slopes(forecaster, frames, shown)

    ahead, stepping = Forecasts(forecaster), Captured(step)

    def forecast_by_graph() -> None:
        with precision(name, device):
            ahead(context, STEPS)

    def train_by_graph() -> None:
        with precision(name, device):
            stepping(frames, shown)

    runs = {"forecast": forecast_by_graph, "train": train_by_graph}
    yield Side(GRAPH, runs, lambda: ahead.seconds + stepping.seconds)
