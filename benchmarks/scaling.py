"""How a training step's time and memory grow with frames, batch, field and layers, and what a second process brings.

    python benchmarks/scaling.py            print a table
    python benchmarks/scaling.py --record   also keep it in docs/records/scaling.json, for the documentation
    python benchmarks/scaling.py --only batch --record    measure one size anew, or the first time

PredRNN with patches of 4 and kernels of 5, from :data:`BASE` outwards, one size at a time. Every point is a process of
its own with one thread; a figure is the median of three steps after one that warms up, in the processor's time, which
says the same on a machine that is busy with other work; of several processes the time on the wall. Memory is what
tensors hold at the highest beyond what is there before the step: keeping everything, computing layers again, and
forecasting.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import stkit
from stkit.bench.machine import processor
from stkit.train.held import watch

RECORD = Path(__file__).resolve().parents[1] / "docs" / "records" / "scaling.json"
BASE = {"frames": 20, "batch": 2, "side": 64, "layers": 4}
"""Frames of a window, half of them given; windows of a step; cells along a side; layers."""
WIDTH, PATCH, KERNEL = 32, 4, 5
POINTS: dict[str, tuple[int, ...]] = {
    "frames": (6, 10, 20, 40),
    "batch": (1, 2, 4, 8),
    "side": (32, 64, 96, 128),
    "layers": (1, 2, 4, 8),
}
HORIZONS = (10, 40, 160)
TURNS = 3
CPU = torch.device("cpu")


def points() -> list[dict[str, int]]:
    """Every point once, the base among them."""
    found = [BASE | {name: value} for name, values in POINTS.items() for value in values]
    return [point for place, point in enumerate(found) if point not in found[:place]]


def build(layers: int) -> Any:
    torch.manual_seed(0)
    cell = {"kernel": KERNEL}
    return stkit.build("predrnn", layers=[WIDTH] * layers, patch=PATCH, cell=cell, engine="direct")


def step(forecaster: Any, frames: Any, **options: Any) -> None:
    out = forecaster.rollout(frames, frames.shape[1] // 2, **options)
    (out.predictions - frames[:, out.first :]).square().mean().backward()
    forecaster.zero_grad(set_to_none=True)


def median_seconds(run: Callable[[], Any], clock: Callable[[], float]) -> tuple[float, list[float]]:
    run()
    taken = []
    for _ in range(TURNS):
        start = clock()
        run()
        taken.append(clock() - start)
    return statistics.median(taken), [min(taken), max(taken)]


def peak(run: Callable[[], Any]) -> int:
    with watch(CPU) as held:
        run()
    return held.most


def measure(point: dict[str, int]) -> dict[str, Any]:
    """One point, in this process."""
    forecaster = build(point["layers"])
    frames = torch.rand(point["batch"], point["frames"], 1, point["side"], point["side"])

    def forecast() -> None:
        with torch.no_grad():
            forecaster(frames[:, : point["frames"] // 2], point["frames"] - point["frames"] // 2)

    seconds, spread = median_seconds(lambda: step(forecaster, frames), time.process_time)
    forecast_seconds, forecast_spread = median_seconds(forecast, time.process_time)
    return {
        **point,
        "seconds": seconds,
        "spread": spread,
        "forecast_seconds": forecast_seconds,
        "forecast_spread": forecast_spread,
        "training_bytes": peak(lambda: step(forecaster, frames)),
        "training_bytes_layer": peak(lambda: step(forecaster, frames, recompute="layer")),
        "forecast_bytes": peak(forecast),
    }


def long_forecasts() -> list[dict[str, int]]:
    """What a forecast holds at the highest, piece by piece, by its horizon."""
    forecaster = build(BASE["layers"]).eval()
    context = torch.rand(BASE["batch"], 10, 1, BASE["side"], BASE["side"])

    @torch.no_grad()
    def run(horizon: int) -> None:
        state = forecaster.warm(context)
        for _ in range(horizon - 1):
            _, state = forecaster.go_on(state, 1)

    return [{"horizon": horizon, "bytes": peak(lambda horizon=horizon: run(horizon))} for horizon in HORIZONS]


def worker(batch: int) -> None:
    """Steps of one process of a group, or of one alone; the first one prints the median."""
    from stkit.bench.generated import Generated
    from stkit.recipe import load
    from stkit.train.device import make_accelerator
    from stkit.train.setup import put_together
    from stkit.train.step import optimiser_step

    widths = [WIDTH] * BASE["layers"]
    changes = [f"model.layers={widths}", f"train.batch_size={batch}", "train.reverse_batches=false"]
    loaded = load("predrnn-mnist", changes)
    accelerator = make_accelerator()
    training = put_together(loaded, accelerator, Generated(loaded.recipe))
    seconds, spread = median_seconds(lambda: optimiser_step(training), time.perf_counter)
    if accelerator.is_main_process:
        weights = sum(parameter.numel() for parameter in training.objective.parameters())
        print(json.dumps({"batch": batch, "seconds": seconds, "spread": spread, "parameters": weights}))
    accelerator.end_training()


def in_processes(count: int, batch: int) -> dict[str, Any]:
    launch = [sys.executable]
    if count > 1:
        launch += ["-m", "torch.distributed.run", "--nproc-per-node", str(count), "--rdzv-backend", "c10d"]
        launch += ["--rdzv-endpoint", "localhost:0"]
    done = fresh([*launch, __file__, "--worker", str(batch)], ACCELERATE_USE_CPU="true")
    return {"processes": count, **done}


def fresh(command: list[str], **more: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def processes() -> list[dict[str, Any]]:
    """One process, two on a batch of the same size, two on a batch twice as large."""
    size = 4
    return [in_processes(1, size), in_processes(2, size), in_processes(2, 2 * size)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep the results for the documentation")
    parser.add_argument(
        "--only", choices=["points", *POINTS, "horizon", "processes"], help="measure one of the sizes anew"
    )
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    if arguments.point:
        print(json.dumps(measure(json.loads(arguments.point))))
        return 0
    if arguments.worker:
        worker(arguments.worker)
        return 0
    record = json.loads(RECORD.read_text(encoding="utf-8")) if arguments.only and RECORD.exists() else {}
    kept = {tuple(row[name] for name in BASE): row for row in record.get("points", [])}
    for point in points():
        varied = [name for name in BASE if point[name] != BASE[name]]
        if arguments.only in (None, "points", *varied) or (not varied and tuple(point.values()) not in kept):
            row = fresh([sys.executable, __file__, "--point", json.dumps(point)])
            kept[tuple(point.values())] = row
            print(f"{point!s:<64} {row['seconds']:.3f} s, {row['training_bytes'] / 1e6:.0f} MB", flush=True)
    record["points"] = [kept[tuple(point.values())] for point in points() if tuple(point.values()) in kept]
    if arguments.only in (None, "horizon"):
        record["horizons"] = long_forecasts()
    if arguments.only in (None, "processes"):
        record["processes"] = processes()
        for row in record["processes"]:
            print(f"{row['processes']} processes, batch {row['batch']}: {row['seconds']:.3f} s", flush=True)
    record["about"] = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "torch": torch.__version__,
        "base": BASE,
        "width": WIDTH,
        "kernel": KERNEL,
        "patch": PATCH,
    }
    if arguments.record:
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
