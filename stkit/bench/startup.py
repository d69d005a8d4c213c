"""From the start of a process to the end of its first training step.

``python -m stkit.bench.startup RECIPE`` trains one step of a recipe on its own data, writes nothing, and prints when,
since it was started, torch and stkit were imported, all was put together and the step was taken.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stkit.errors import StkitError, UsageError

if TYPE_CHECKING:
    from stkit.recipe.loaded import LoadedRecipe

_STARTED = "STKIT_BENCH_STARTED"


def startup_seconds(loaded: LoadedRecipe) -> dict[str, float]:
    """Seconds from the start of a fresh process until ``imported``, ``assembled`` and ``first_step``.

    Raises:
        UsageError: the recipe cannot be trained on its own data here.
    """
    with tempfile.TemporaryDirectory(prefix="stkit-bench-") as folder:
        path = Path(folder) / f"{loaded.name}.yaml"
        path.write_text(loaded.resolved_yaml(), encoding="utf-8")
        environment = {**os.environ, _STARTED: repr(time.time())}
        done = subprocess.run(
            [sys.executable, "-m", "stkit.bench.startup", str(path)], env=environment, capture_output=True, text=True
        )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it told no reason"])[-1]
        raise UsageError(f"the start-up cannot be measured: {said}; --no-startup leaves it out")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main(arguments: list[str]) -> int:
    """Take one step and print when what was done."""
    begin = float(os.environ.get(_STARTED) or time.time())
    from stkit.recipe.loaded import load
    from stkit.starting import starting

    found: dict[str, Any] = {}

    def note(what: str) -> None:
        found[what] = round(time.time() - begin, 3)

    try:
        loaded = load(arguments[0])
        with starting():
            from stkit.train.device import make_accelerator
            from stkit.train.setup import assemble
            from stkit.train.step import optimiser_step
            from stkit.train.trainer import callbacks_told

            note("imported")
            training = assemble(loaded, make_accelerator(loaded.recipe.train.precision))
        note("assembled")
        with callbacks_told(training):
            optimiser_step(training)
            note("first_step")
    except StkitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
