"""How long the command line takes to answer where it needs no model, and to take its first training step.

Run ``python benchmarks/startup.py``; it ends with 1 if a command without a model takes more than half a second. Figures
are medians of several runs.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

from stkit.bench.startup import startup_seconds
from stkit.recipe import load

COMMANDS = (
    ("--help",),
    ("list",),
    ("validate", "predrnn-sst"),
    ("schema",),
    ("info", "predrnn", "--no-build"),
    ("plugins",),
)
LIMIT_SECONDS = 0.5
TRAINED = "predrnn-sst"
"""Recipe whose first step is waited for."""


def seconds(command: tuple[str, ...]) -> tuple[float, float]:
    """Wall time and processor time of one run. Where the first is much the larger, the machine is busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "stkit", *command], check=True, capture_output=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="runs of each command after a first one to warm up")
    runs = parser.parse_args().runs
    slow = 0
    for command in COMMANDS:
        seconds(command)
        times = [seconds(command) for _ in range(runs)]
        median, processor = (statistics.median(column) for column in zip(*times, strict=True))
        slow += median > LIMIT_SECONDS
        verdict = "" if median <= LIMIT_SECONDS else f"  over {LIMIT_SECONDS} s"
        print(f"{median:6.3f} s  (processor {processor:.3f} s)  stkit {' '.join(command)}{verdict}")
    told = [startup_seconds(load(TRAINED)) for _ in range(max(1, runs // 3))]
    imported, assembled, first = (
        statistics.median(one[what] for one in told) for what in ("imported", "assembled", "first_step")
    )
    print(
        f"{first:6.3f} s  to the end of the first training step of {TRAINED}: torch and stkit imported at "
        f"{imported:.3f} s, data, model and optimiser put together at {assembled:.3f} s"
    )
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
