"""A script: training rollouts, streams and strictly exported forecasts are captured whole and give the same numbers."""

from __future__ import annotations

from typing import Any

import torch

import stkit
from stkit.stacks import Forecaster

F64 = torch.float64
FRAMES = [torch.randn(2, 4, 1, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=F64) for seed in (0, 1)]


def built(name: str) -> Forecaster:
    torch.manual_seed(0)
    return stkit.build(name, layers=[3, 3], cell={"kernel": 3}, patch=2, dtype=F64)


def compiled(function: Any) -> Any:
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def close(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def training(name: str) -> None:
    forecaster = built(name)
    parameters = list(forecaster.parameters())
    rollout = compiled(forecaster.rollout)
    for number, frames in enumerate(FRAMES):
        with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
            losses = [run(frames, 2).predictions.square().sum() for run in (rollout, forecaster.rollout)]
        close(losses[0], losses[1])
        close(*(torch.autograd.grad(loss, parameters) for loss in losses))


@torch.no_grad()
def stream(name: str) -> None:
    forecaster = built(name).eval()
    step = compiled(forecaster.step)
    ours = theirs = forecaster.warm(FRAMES[0][:, :1])
    for t in range(1, 4):
        with torch.compiler.set_stance("fail_on_recompile" if t > 1 else "default"):
            _, ours = step(FRAMES[0][:, t], ours)
        _, theirs = forecaster.step(FRAMES[0][:, t], theirs)
        close(ours.forecast, theirs.forecast)


class Two(torch.nn.Module):
    """Two frames ahead."""

    def __init__(self, forecaster: Forecaster) -> None:
        super().__init__()
        self.forecaster = forecaster

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        forecast: torch.Tensor = self.forecaster(context, 2)
        return forecast


@torch.no_grad()
def strictly(name: str) -> None:
    two = Two(built(name).eval())
    graph = torch.export.export(two, (FRAMES[0],), strict=True).module()
    close(graph(FRAMES[1]), two(FRAMES[1]))


def unrolled(name: str, **values: Any) -> None:
    """No break in the graph of the forward pass; what aot_eager adds is the same for all cells."""
    torch.manual_seed(0)
    forecaster = stkit.build(name, dtype=F64, **values)
    frames = FRAMES[0][:, :3]
    rollout = torch.compile(forecaster.rollout, backend="eager", fullgraph=True)
    close(rollout(frames, 2).predictions, forecaster.rollout(frames, 2).predictions)


if __name__ == "__main__":
    torch.set_num_threads(1)
    highway = {"width": 3, "cell": {"name": "ghu", "kernel": 3}}
    window = {"width": 1, "cell": {"name": "frame_window", "depth": 2}}
    unrolled("predrnnpp", layers=[3, highway, 3], cell={"kernel": 3})
    unrolled("mim", layers=[3, 3], cell={"kernel": 3}, transition={"kernel": 3}, engine="fused")
    unrolled("e3d_lstm", layers=[window, 3], cell={"kernel": [2, 3, 3]}, engine="fused")
    for each in ("predrnn", "convlstm"):
        training(each)
        stream(each)
        strictly(each)
