"""Which share of the time in training steps goes by waiting for batches, on the shipped recipes.

    python benchmarks/waiting.py            print a table
    python benchmarks/waiting.py --record   also keep it in docs/records/waiting.json, for the documentation

Each recipe as it is shipped, but for the number of steps; the first steps, which start worker processes, do not count.
A recipe whose model is made for a GPU is left out: on a processor its steps take so long that nothing waits.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from stkit.bench.machine import processor
from stkit.recipe import load
from stkit.train.device import make_accelerator
from stkit.train.setup import assemble
from stkit.train.step import optimiser_step
from stkit.train.trainer import callbacks_told

RECORD = Path(__file__).resolve().parents[1] / "docs" / "records" / "waiting.json"
RECIPES = (
    "predrnn-sst",
    "convlstm-sst",
    "predrnn-wind",
    "synthetic",
    "field-still",
    "convlstm-mnist-small",
    "predrnn-mnist-small",
    "e3d-lstm-mnist-small",
)
FIRST, COUNTED = 2, 8


def measure(name: str) -> dict[str, Any]:
    loaded = load(name, [f"train.steps={FIRST + COUNTED}"])
    training = assemble(loaded, make_accelerator(loaded.recipe.train.precision))
    with callbacks_told(training):
        for _ in range(FIRST):
            optimiser_step(training)
        before = training.batches.waited_seconds, training.step_seconds
        for _ in range(COUNTED):
            optimiser_step(training)
    waited, taken = training.batches.waited_seconds - before[0], training.step_seconds - before[1]
    workers = loaded.recipe.train.workers
    return {"recipe": name, "workers": workers, "step_seconds": taken / COUNTED, "waiting_share": waited / taken}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep the results for the documentation")
    arguments = parser.parse_args()
    rows = []
    for name in RECIPES:
        rows.append(measure(name))
        row = rows[-1]
        print(f"{name:<28} {row['step_seconds']:.3f} s a step, {row['waiting_share']:.2%} waiting", flush=True)
    if arguments.record:
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        RECORD.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
