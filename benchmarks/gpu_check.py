"""The numbers of a GPU against the processor's in float64, for ``benchmarks/gpu.py --check``."""

from __future__ import annotations

import argparse
import copy
import json
import traceback
from collections.abc import Callable
from typing import Any

import openstl_models as openstl
import torch
import torch.nn.functional as F
from gpu_sides import STEPS, precision, sampled
from torch import Tensor

from stkit.stacks.captured import Captured, Forecasts
from stkit.stacks.engine import set_engine


def check(
    options: argparse.Namespace, device: torch.device, save: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """How far outputs and gradients are from the processor's in float64, for each way to compute them."""
    hidden, size = (4, 16) if options.tiny else (32, 32)
    rows: list[dict[str, Any]] = []
    for model in options.models:
        torch.manual_seed(0)
        exact = openstl.ours(model, hidden, 5, size, openstl.theirs(model, hidden, 5, size)).double()
        set_engine(exact, "direct")
        frames = torch.rand(2, 2 * STEPS, 1, size, size, generator=torch.Generator().manual_seed(1))
        truth = outcome(exact, frames.double(), graph=False)
        for name in options.precisions:
            for engine, graph in (("direct", False), ("auto", False), ("auto", True)):
                if graph and device.type != "cuda":
                    continue
                row: dict[str, Any] = {"model": model, "precision": name, "engine": engine, "graph": graph}
                try:
                    ours = copy.deepcopy(exact).float().to(device)
                    set_engine(ours, engine)
                    with precision(name, device):
                        found = outcome(ours, frames.to(device), graph=graph)
                    row |= {"outputs": apart(found[0], truth[0]), "gradients": apart(found[1], truth[1])}
                    row["forecast"] = apart(found[2], truth[2])
                except Exception as error:
                    traceback.print_exc()
                    row["failed"] = f"{type(error).__name__}: {error}"
                rows.append(row)
                print(json.dumps(row), flush=True)
                save({"check": rows})
    return rows


def outcome(forecaster: Any, frames: Tensor, *, graph: bool) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Predictions, gradients, a forecast; with a graph what its second replay gives."""
    shown = sampled(frames)

    def step(frames: Tensor, shown: Tensor) -> Tensor:
        for parameter in forecaster.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
        out = forecaster.rollout(frames, STEPS, tokens=shown)
        F.mse_loss(out.predictions.to(frames.dtype), frames[:, out.first :]).backward()
        return out.predictions.detach()

    run, ahead = (Captured(step), Forecasts(forecaster)) if graph else (step, forecaster)
    if graph:
        run(frames.flip(0), shown.flip(0))
        ahead(frames[:, 3 : 3 + STEPS], STEPS)
    made = run(frames, shown)
    with torch.no_grad():
        forecast = ahead(frames[:, :STEPS].contiguous(), STEPS)
    return [made], [p.grad.clone() for p in forecaster.parameters() if p.grad is not None], [forecast]


def apart(ours: list[Tensor], truth: list[Tensor]) -> float:
    """The largest difference, as a share of the largest value, over all tensors."""
    pairs = zip(ours, truth, strict=True)
    return max(float((a.cpu().double() - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)
