"""How fast stkit trains and forecasts on a GPU, against OpenSTL in the same precision and against the card itself.

    python benchmarks/gpu.py --openstl PATH                    print tables
    python benchmarks/gpu.py --openstl PATH --record           also put them into docs/records/gpu.json
    python benchmarks/gpu.py --openstl PATH --profile          where the time of a step goes, kernel by kernel
    python benchmarks/gpu.py --check                           only compare numbers with the processor's in float64

``PATH`` is an unmodified checkout of OpenSTL. Networks of the official widths for Moving MNIST: four layers of 128,
5 x 5 kernels, patches of 4 on 64 x 64 cells, ten frames given and ten forecast. A training step is the forward pass,
the mean squared error and the backward pass, with sampled frames shown.

Three sides take turns: OpenSTL as it is, stkit's engine for GPUs launch by launch (in the first precision), and the
same as a CUDA graph. A figure is the median of the turns by CUDA's events, with the fastest and the slowest. Precisions
are those of all sides: ``fp32`` is float32 without TF32, ``tf32`` allows it in convolutions and matrix products,
``bf16`` is autocast. What does not fit into the time (``--seconds``) or the card's memory is left out and told.

Without a GPU it says so and ends; ``--device cpu --tiny`` runs everything once, small, to see that it works.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openstl_models as openstl
import torch
from gpu_check import check
from gpu_record import about, merged
from gpu_sides import GRAPH, PRECISIONS, STEPS, Run, Side, networks, our_sides, precision, their_side
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

RECORD = Path(__file__).resolve().parents[1] / "docs" / "records" / "gpu.json"
LAYER_STEPS = openstl.LAYERS * (2 * STEPS - 1)
MODELS = tuple(openstl.MODELS)
BATCHES = (1, 4, 16, 64)
WORKS = ("forecast", "train")
LONGEST, SHORTEST, MOST = 0.25, 2, 15
"""Seconds for the turns of one side in one case; how many turns there are at least, and at most."""


class Case(NamedTuple):
    """One network at one batch in one precision."""

    model: str
    precision: str
    batch: int


class Clock:
    """Measures on one device.

    Args:
        device: what is measured.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.on_gpu = device, device.type == "cuda"

    def once(self, run: Run) -> float:
        """Seconds of a call."""
        if not self.on_gpu:
            start = time.perf_counter()
            run()
            return time.perf_counter() - start
        start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start_event.record()
        run()
        end_event.record()
        end_event.synchronize()
        return float(start_event.elapsed_time(end_event)) / 1000

    def memory(self, run: Run) -> float | None:
        """Gigabytes that a call takes at most, above what is there before; None on a processor."""
        if not self.on_gpu:
            run()
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e9

    def free(self) -> None:
        """Give back what earlier cases have taken."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()


def compare(sides: list[Side], work: str, clock: Clock) -> dict[str, Any]:
    """All sides at one work, in turns."""
    found: dict[str, Any] = {}
    times: dict[str, list[float]] = {}
    able = []
    for side in sides:
        try:
            memory = clock.memory(side.runs[work])  # warms up, and records graphs
            times[side.name] = []
            able.append((side, clock.once(side.runs[work])))
            found[side.name] = {"gigabytes": memory}
        except torch.OutOfMemoryError:
            found[side.name] = {"left_out": "memory"}
            clock.free()
    slowest = max((taken for _, taken in able), default=1.0)
    turns = max(SHORTEST, min(MOST, round(LONGEST / slowest)))
    for _ in range(turns):
        for side, _first in able:
            if "left_out" in found[side.name]:
                continue
            try:
                times[side.name].append(clock.once(side.runs[work]))
            except torch.OutOfMemoryError:  # what the others hold counts too
                found[side.name] = {"left_out": "memory"}
                clock.free()
    for name, taken in times.items():
        if "left_out" in found[name]:
            continue
        found[name] |= {"seconds": statistics.median(taken), "spread": [min(taken), max(taken)], "turns": turns}
    return found


def launches(run: Run) -> float:
    """Kernels and copies that a call puts on the GPU, for each layer and time step."""
    run()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as seen:
        run()
        torch.cuda.synchronize()
    assert seen.profiler is not None
    events = seen.profiler.kineto_results.events()
    return sum(event.device_type() == torch.autograd.DeviceType.CUDA for event in events) / LAYER_STEPS


def kernels(options: argparse.Namespace, clock: Clock, most: int = 12) -> None:
    """Print what each work of each side spends its time on, launch by launch: share, calls, and the kernel's name."""
    hidden, size = (4, 16) if options.tiny else (128, 64)
    kind = ProfilerActivity.CUDA if clock.on_gpu else ProfilerActivity.CPU
    for case in ordered(options):
        network, forecaster = networks(case.model, hidden, size, clock.device)
        frames = torch.rand(case.batch, 2 * STEPS, 1, size, size, device=clock.device)
        ours = next(our_sides(forecaster, frames, case.precision))
        for side, work in itertools.product((their_side(network, frames, case.precision), ours), WORKS):
            side.runs[work]()
            with profile(activities=[kind], acc_events=True) as seen:
                side.runs[work]()
                if clock.on_gpu:
                    torch.cuda.synchronize()
            taken = [
                (e.self_device_time_total if clock.on_gpu else e.self_cpu_time_total, e) for e in seen.key_averages()
            ]
            total = sum(time for time, _ in taken)
            print(f"{case.model} {case.precision} batch {case.batch}, {work}, {side.name}: {total / 1000:.1f} ms")
            for one, event in sorted(taken, key=lambda pair: pair[0], reverse=True)[:most]:
                print(f"  {100 * one / max(total, 1e-9):5.1f} % {event.count:6d} x  {event.key[:110]}", flush=True)
        del network, forecaster, ours
        clock.free()


def operations(network: Any, size: int, device: torch.device) -> dict[str, float]:
    """Multiplications and additions of OpenSTL's network for one sample; backward twice the forward."""
    side = their_side(network, torch.rand(1, 2 * STEPS, 1, size, size, device=device), "fp32")
    found = {}
    for work in WORKS:
        with FlopCounterMode(display=False) as counter:
            side.runs[work]()
        found[work] = float(counter.get_total_flops())
    return found


def limits(clock: Clock, tiny: bool) -> dict[str, Any]:
    """What the device reaches: products of large matrices in each precision, and a copy."""
    side = 256 if tiny else 8192
    found: dict[str, Any] = {}
    for name in PRECISIONS:
        kind = torch.bfloat16 if name == "bf16" else torch.float32
        a = torch.randn(side, side, device=clock.device, dtype=kind)
        with precision("fp32" if name == "bf16" else name, clock.device):
            clock.once(lambda a=a: a @ a)
            taken = min(clock.once(lambda a=a: a @ a) for _ in range(5))
        found[f"{name}_flops"] = 2 * side**3 / taken
    here = torch.empty(2**20 if tiny else 2**30, dtype=torch.uint8, device=clock.device)
    there = torch.empty_like(here)
    clock.once(lambda: there.copy_(here))
    found["copy_bytes_per_second"] = 2 * here.numel() / min(clock.once(lambda: there.copy_(here)) for _ in range(5))
    return found


def ordered(options: argparse.Namespace) -> Iterator[Case]:
    """What is measured, what matters most first."""
    for name in options.precisions:
        for batch in options.batches:
            for model in options.models:
                yield Case(model, name, batch)


def measure(
    options: argparse.Namespace, clock: Clock, until: float, save: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """All rows that the time is enough for; what there is is saved after each of them."""
    began = time.monotonic()
    hidden, size = (4, 16) if options.tiny else (128, 64)
    kept: dict[str, tuple[Any, Any]] = {}
    rows: list[dict[str, Any]] = []
    left: list[Case] = []
    flops: dict[str, dict[str, float]] = {}
    counts: list[dict[str, Any]] = []
    cases = list(ordered(options))
    for number, case in enumerate(cases, start=1):
        if time.monotonic() > until:
            left.append(case)
            continue
        try:
            if case.model not in kept:
                kept[case.model] = networks(case.model, hidden, size, clock.device)
                flops[case.model] = operations(kept[case.model][0], size, clock.device)
            network, forecaster = kept[case.model]
            frames = torch.rand(case.batch, 2 * STEPS, 1, size, size, device=clock.device)
            sides = [their_side(network, frames, case.precision), *our_sides(forecaster, frames, case.precision)]
            if clock.on_gpu and not any(count["model"] == case.model for count in counts):
                # A graph takes its memory at its first call, which is measured below.
                by_launches = [side for side in sides if side.name != GRAPH]
                for side, work in itertools.product(by_launches, WORKS):
                    told = {"model": case.model, "precision": case.precision, "side": side.name, "work": work}
                    counts.append({**told, "launches": launches(side.runs[work])})
            row: dict[str, Any] = {**case._asdict(), **{work: compare(sides, work, clock) for work in WORKS}}
            row["recording_seconds"] = sides[-1].recording()
        except Exception as error:
            traceback.print_exc()
            row = {**case._asdict(), "failed": f"{type(error).__name__}: {error}"}
        rows.append(row)
        print(line(row), f"[{time.monotonic() - began:.0f} s]", flush=True)
        sides = []
        rest = [list(case) for case in cases[number:]]
        save({"rows": rows, "launches": counts, "operations": flops, "left_out": rest})
        for part in kept.get(case.model, ()):
            part.zero_grad(set_to_none=True)
        clock.free()
    return {"rows": rows, "launches": counts, "operations": flops, "left_out": [list(case) for case in left]}


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    told = f"{row['model']:<10} {row['precision']} batch {row['batch']:>2}:"
    if "failed" in row:
        return f"{told} failed: {row['failed']}"
    for work in WORKS:
        found = row[work]
        times = {name: side["seconds"] for name, side in found.items() if "seconds" in side}
        told += f" | {work} " + ", ".join(f"{name} {1000 * taken:.1f} ms" for name, taken in times.items())
        if "openstl" in times and len(times) > 1:
            told += " (" + ", ".join(f"{times['openstl'] / t:.2f} x" for n, t in times.items() if n != "openstl") + ")"
    return told


def main() -> int:
    """The command; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openstl", type=Path, help="a checkout of OpenSTL")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--seconds", type=float, default=330.0, help="after which no further case is begun")
    parser.add_argument("--check", action="store_true", help="compare numbers with the processor's in float64")
    parser.add_argument("--profile", action="store_true", help="print the kernels of a step, the longest first")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="networks of four channels")
    parser.add_argument("--record", action="store_true", help="keep the results for the documentation")
    parser.add_argument("--output", type=Path, help="keep the results in this file")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here, so nothing was measured; --device cpu --tiny tries the code without one.")
        return 0
    if options.openstl is None:
        parser.error("--openstl PATH is needed, a checkout of OpenSTL")
    openstl.load(options.openstl)
    torch.manual_seed(0)
    clock = Clock(device)
    until = time.monotonic() + options.seconds
    kept: dict[str, Any] = {"about": about(device), "hidden": 4 if options.tiny else 128}
    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}

    def save(found: dict[str, Any]) -> None:
        if options.output is not None:
            options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if options.record:
            RECORD.write_text(json.dumps(merged(before, found), indent=1) + "\n", encoding="utf-8")

    if options.profile:
        kernels(options, clock)
        return 0

    if options.check:
        kept["check"] = check(options, device, lambda found: save(kept | found))
    else:
        kept["limits"] = limits(clock, options.tiny)
        print(json.dumps(kept["limits"]), flush=True)
        kept |= measure(options, clock, until, lambda found: save(kept | found))
    save(kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
