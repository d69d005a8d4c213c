"""Training from a Zarr store that is larger than memory: how much of it is in memory at a time, and who waits for whom.

    python benchmarks/larger_than_memory.py FOLDER             write a store of 20 GB there, measure, delete it
    python benchmarks/larger_than_memory.py FOLDER --record    also keep the result in docs/records/streaming/zarr.json

The store holds one variable in float32, uncompressed 20 GB; its fields are smooth and rounded and repeat after a year,
so that it takes less on disk. Statistics are fitted to the training part, then a small PredRNN is trained with the
usual loader and one worker process. Memory is what this process and its workers have resident, added up; a page that
several of them share (a library) is counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

RECORD = Path(__file__).resolve().parents[1] / "docs" / "records" / "streaming" / "zarr.json"
SIDE, CHUNK, CROP, BATCH = 512, 16, 64, 2
BLOCKS = 23
"""Chunks that differ: a year of days."""


def write_store(path: Path, gigabytes: float) -> int:
    """A daily record of fields that drift and have a season; returns its steps."""
    import zarr

    frame_bytes = 4 * SIDE * SIDE
    steps = int(gigabytes * 1e9 / frame_bytes / CHUNK + 1) * CHUNK
    group = zarr.open_group(path, mode="w", zarr_format=2)
    sst = group.create_array(
        "sst", shape=(steps, SIDE, SIDE), chunks=(CHUNK, SIDE, SIDE), dtype="f4", fill_value=np.nan
    )
    sst.attrs.update({"_ARRAY_DIMENSIONS": ["time", "lat", "lon"], "units": "degC"})
    for name, values, attributes in (
        (
            "time",
            np.arange(steps, dtype=np.int32),
            {"units": "days since 1960-01-01", "calendar": "proleptic_gregorian"},
        ),
        ("lat", np.linspace(-40, 40, SIDE), {"units": "degrees_north"}),
        ("lon", np.linspace(0, 80, SIDE), {"units": "degrees_east"}),
    ):
        array = group.create_array(name, data=values, fill_value=None)
        array.attrs.update({"_ARRAY_DIMENSIONS": [name], **attributes})
    fields = smooth(np.random.default_rng(0))
    for block in range(BLOCKS):
        days = np.arange(block * CHUNK, (block + 1) * CHUNK)
        drift = np.stack([np.roll(fields[block], day, axis=1) for day in days])
        season = np.round(8 * 5 * np.sin(2 * np.pi * days / 365.25)) / 8
        sst[days[0] : days[-1] + 1] = drift + season[:, None, None].astype(np.float32)
    # the rest of the record repeats these days: a store is read the same whatever its chunks say
    for block in range(BLOCKS, steps // CHUNK):
        shutil.copyfile(path / "sst" / f"{block % BLOCKS}.0.0", path / "sst" / f"{block}.0.0")
    zarr.consolidate_metadata(group.store)
    return steps


def smooth(rng: np.random.Generator) -> np.ndarray:
    """Random fields without small scales, rounded to an eighth; a corner of them is land."""
    from scipy.ndimage import gaussian_filter

    fields = gaussian_filter(rng.normal(size=(BLOCKS, SIDE, SIDE)), (0, 12, 12), mode="wrap") * 60
    return (np.round(8 * (15 + fields)) / 8).astype(np.float32)


class Memory(threading.Thread):
    """The most that this process and its descendants had resident, looked at ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest: dict[str, float] = {}
        self.phase = "start"
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            now = sum(resident(pid) for pid in family(os.getpid())) / 2**20
            self.highest[self.phase] = max(self.highest.get(self.phase, 0.0), now)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [one for child in (thread / "children").read_text().split() for one in family(int(child))]
    except OSError:
        pass
    return found


def resident(pid: int) -> int:
    """Bytes of one process in memory; its part of the pages that it shares with others (``Pss``)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


class Timed:
    """The batches of a training, and how long each was waited for."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.waited: list[float] = []

    def __getitem__(self, number: int) -> Any:
        start = time.perf_counter()
        batch = self.batches[number]
        self.waited.append(time.perf_counter() - start)
        return batch


def measure(store: Path, steps: int) -> dict[str, Any]:
    """Fit, load alone, and train."""
    import torch
    from accelerate import Accelerator

    from stkit.recipe import from_dict
    from stkit.train.setup import assemble
    from stkit.train.step import optimiser_step

    torch.set_num_threads(1)
    recipe = {
        "data": {
            "dataset": {"name": "zarr", "path": str(store), "memory_mb": 256},
            "input_steps": 6,
            "horizon": 4,
            "crop": {"height": CROP, "width": CROP},
        },
        "model": {"name": "predrnn", "layers": [8, 8]},
        "train": {
            "steps": steps,
            "batch_size": BATCH,
            "workers": 1,
            "loss": {"name": "mse"},
            "sampling": {"name": "none"},
        },
    }
    memory = Memory()
    memory.start()
    memory.phase, start = "fitting", time.perf_counter()
    training = assemble(from_dict(recipe, name="streaming"), Accelerator(cpu=True))
    fitting = time.perf_counter() - start
    memory.phase = "training"
    timed = Timed(training.batches)
    training.batches = timed
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        optimiser_step(training)
        seconds.append(time.perf_counter() - start)
    memory.over.set()
    # the first step waits for the worker process to start
    waited, whole = timed.waited[1:], seconds[1:]
    return {
        "fitting_seconds": round(fitting, 1),
        "training_steps": steps,
        "first_batch_seconds": round(timed.waited[0], 2),
        "step_seconds": round(float(np.mean(whole)), 4),
        "waited_seconds": round(float(np.mean(waited)), 4),
        "steps_that_waited": int(sum(w > 0.1 * s for w, s in zip(waited, whole, strict=True))),
        "batch_size": BATCH,
        "highest_gigabytes": {phase: round(value * 2**20 / 1e9, 3) for phase, value in memory.highest.items()},
    }


def on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the store is written; it is deleted at the end")
    parser.add_argument("--record", action="store_true", help="keep the result for the documentation")
    parser.add_argument("--gigabytes", type=float, default=20.0, help="uncompressed size of the store")
    parser.add_argument("--steps", type=int, default=30, help="training steps")
    arguments = parser.parse_args()
    store = arguments.folder / "larger-than-memory.zarr"
    if store.exists():
        parser.error(f"{store} exists already")
    try:
        steps = write_store(store, arguments.gigabytes)
        found = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "shape": [steps, SIDE, SIDE],
            "chunks": [CHUNK, SIDE, SIDE],
            "crop": [CROP, CROP],
            "gigabytes": round(4 * steps * SIDE * SIDE / 1e9, 2),
            "gigabytes_on_disk": round(on_disk(store) / 1e9, 2),
            **measure(store, arguments.steps),
        }
    finally:
        shutil.rmtree(store, ignore_errors=True)
    print(json.dumps(found, indent=1))
    if arguments.record:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
