"""How long the command line takes to answer where it needs no model, and to take its first training step.

    python benchmarks/startup.py            print a table
    python benchmarks/startup.py --record   also keep it in docs/records/startup.json, for the documentation

Figures are medians of several runs of a fresh process. It ends with 1 if a command without a model takes more than half
a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from stkit.bench.machine import processor
from stkit.bench.startup import startup_seconds
from stkit.recipe import load

RECORD = Path(__file__).resolve().parents[1] / "docs" / "records" / "startup.json"
COMMANDS = (
    ("--help",),
    ("list",),
    ("validate", "predrnn-sst"),
    ("schema",),
    ("info", "predrnn", "--no-build"),
    ("plugins",),
)
LIMIT_SECONDS = 0.5
TRAINED = ("predrnn-sst", "convlstm-mnist-small")
"""Recipes whose first step is waited for: one of a NetCDF file, one of sequences that are drawn."""


def seconds(command: tuple[str, ...]) -> tuple[float, float]:
    """Wall time and processor time of one run. Where the first is much the larger, the machine is busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "stkit", *command], check=True, capture_output=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="runs of each command after a first one to warm up")
    parser.add_argument("--record", action="store_true", help="keep the results for the documentation")
    arguments = parser.parse_args()
    commands, first_steps = [], []
    for command in COMMANDS:
        seconds(command)
        times = [seconds(command) for _ in range(arguments.runs)]
        median, processor_seconds = (statistics.median(column) for column in zip(*times, strict=True))
        name = f"stkit {' '.join(command)}"
        commands.append({"command": name, "seconds": median, "processor_seconds": processor_seconds})
        verdict = "" if median <= LIMIT_SECONDS else f"  over {LIMIT_SECONDS} s"
        print(f"{median:6.3f} s  (processor {processor_seconds:.3f} s)  {name}{verdict}", flush=True)
    for recipe in TRAINED:
        loaded = load(recipe)
        startup_seconds(loaded)
        told = [startup_seconds(loaded) for _ in range(max(1, arguments.runs // 3))]
        found = {what: statistics.median(one[what] for one in told) for what in told[0]}
        first_steps.append({"recipe": recipe, **found})
        print(
            f"{found['first_step']:6.3f} s  to the end of the first training step of {recipe}: torch and stkit "
            f"imported at {found['imported']:.3f} s, data, model and optimiser put together at "
            f"{found['assembled']:.3f} s",
            flush=True,
        )
    if arguments.record:
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "processor": processor(),
            "torch": version("torch"),
            "runs": arguments.runs,
        }
        kept = {"about": about, "commands": commands, "first_steps": first_steps}
        RECORD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["seconds"] > LIMIT_SECONDS for row in commands) else 0


if __name__ == "__main__":
    sys.exit(main())
