"""How long a training step and a forecast take with each engine of the cells' convolutions, on one processor core.

    python benchmarks/engines.py            print a table
    python benchmarks/engines.py --record   also keep it in docs/records/engines.json, for the documentation

Architectures at the kernels and widths below, patches of 4 on 64 x 64 cells, ten frames given and ten forecast. The
engines take turns; a figure is the median of two turns of the processor's time, which says the same on a machine that
is busy with other work. Errors are the largest, against the same weights in float64, as a multiple of that of the
direct convolution.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import stkit
from stkit.stacks.engine import set_engine

RECORD = Path(__file__).resolve().parents[1] / "docs" / "records" / "engines.json"
STEPS = 10
CASES: tuple[tuple[str, list[int], int, int], ...] = (
    ("predrnn", [32] * 2, 3, 8),
    ("predrnn", [64] * 4, 3, 4),
    ("convlstm", [64] * 4, 5, 4),
    ("predrnn", [64] * 4, 5, 4),
    ("predrnnpp", [64] * 4, 5, 4),
    ("mim", [64] * 4, 5, 4),
    ("predrnn", [128] * 4, 5, 4),
)
"""Architecture, widths, side of the kernels, batch."""
TURNS = 2


def build(name: str, widths: list[int], kernel: int) -> Any:
    torch.manual_seed(0)
    layers: list[Any] = list(widths)
    if name == "predrnnpp":
        layers.insert(1, {"width": widths[0], "cell": {"name": "ghu", "kernel": kernel}})
    cell = {"kernel": kernel}
    transition = {"transition": {"kernel": kernel}} if name == "mim" else {}
    return stkit.build(name, layers=layers, patch=4, cell=cell, **transition)


def slopes(forecaster: Any, frames: Any) -> tuple[Any, list[Any]]:
    out = forecaster.rollout(frames, STEPS)
    loss = (out.predictions - frames[:, out.first :]).square().mean()
    return out.predictions.detach(), list(torch.autograd.grad(loss, list(forecaster.parameters())))


def forecast(forecaster: Any, frames: Any) -> None:
    with torch.no_grad():
        forecaster(frames[:, :STEPS], STEPS)


def seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(name: str, widths: list[int], kernel: int, batch: int) -> dict[str, Any]:
    forecaster = build(name, widths, kernel)
    frames = torch.rand(batch, 2 * STEPS, 1, 64, 64)
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(TURNS + 1):
        for engine in ("direct", "winograd"):
            set_engine(forecaster, engine)
            for what, run in (("train", slopes), ("forecast", forecast)):
                taken = seconds(lambda run=run: run(forecaster, frames))
                if turn:  # the first turn warms up
                    times.setdefault((what, engine), []).append(taken)
    row: dict[str, Any] = {"model": name, "widths": widths, "kernel": kernel, "batch": batch}
    for (what, engine), found in times.items():
        row[f"{what}_{engine}"] = statistics.median(found)
        row[f"{what}_{engine}_spread"] = [min(found), max(found)]
    return row | errors(name, widths, kernel, frames[:1])


def errors(name: str, widths: list[int], kernel: int, frames: Any) -> dict[str, float]:
    forecaster = build(name, widths, kernel)
    truth, exact = slopes(copy.deepcopy(forecaster).double(), frames.double())
    found = {}
    for engine in ("direct", "winograd"):
        set_engine(forecaster, engine)
        out, gradients = slopes(forecaster, frames)
        found[engine] = (
            float((out.double() - truth).abs().max()),
            max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(gradients, exact, strict=True)),
        )
    ratios = [ours / plain for ours, plain in zip(found["winograd"], found["direct"], strict=True)]
    return {"output_error": ratios[0], "gradient_error": ratios[1]}


def processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep the results for the documentation")
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        rows.append(measure(*case))
        row = rows[-1]
        train, ahead = (row[f"{what}_direct"] / row[f"{what}_winograd"] for what in ("train", "forecast"))
        print(f"{case!s:<48} training {train:.2f} x, forecast {ahead:.2f} x", flush=True)
    if arguments.record:
        about = {"date": datetime.now(UTC).date().isoformat(), "processor": processor(), "torch": torch.__version__}
        RECORD.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
