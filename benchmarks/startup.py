"""How long the command line takes to answer where it needs no model: the median of several runs, and its bound.

Run ``python benchmarks/startup.py``; it ends with 1 if a command takes more than half a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = (
    ("--help",),
    ("list",),
    ("validate", "predrnn-sst"),
    ("schema",),
    ("info", "predrnn", "--no-build"),
    ("plugins",),
)
LIMIT_SECONDS = 0.5


def seconds(command: tuple[str, ...]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "stkit", *command], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="runs of each command after a first one to warm up")
    runs = parser.parse_args().runs
    slow = 0
    for command in COMMANDS:
        seconds(command)
        times = [seconds(command) for _ in range(runs)]
        median = statistics.median(times)
        slow += median > LIMIT_SECONDS
        verdict = "" if median <= LIMIT_SECONDS else f"  over {LIMIT_SECONDS} s"
        print(f"{median:6.3f} s  ({min(times):.3f} to {max(times):.3f})  stkit {' '.join(command)}{verdict}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
