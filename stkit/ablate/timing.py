"""How fast a recipe trains on this machine: a few steps and one validation, in a process of its own.

``python -m stkit.ablate.timing RECIPE SECONDS`` prints a JSON object; it ends after about so many seconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

from stkit.ablate.budget import Pace

if TYPE_CHECKING:
    from stkit.recipe.loaded import LoadedRecipe

_FEWEST_STEPS, _MOST_STEPS = 3, 50


def measure(loaded: LoadedRecipe, seconds: float) -> Pace:
    """Train for a few steps and validate once; nothing is written.

    The first step is not counted: it sets things up. Of the others the median counts, so that a moment in which the
    machine does something else does not.

    Args:
        loaded: the recipe.
        seconds: how long to go on; at least three steps are taken.

    Raises:
        StkitError: the recipe does not fit its data or this machine, or its loss is not finite.
    """
    from stkit.train.device import make_accelerator
    from stkit.train.setup import assemble
    from stkit.train.step import optimiser_step
    from stkit.train.trainer import callbacks_told
    from stkit.train.validation import validate

    training = assemble(loaded, make_accelerator(loaded.recipe.train.precision))
    with callbacks_told(training):
        start = time.monotonic()
        optimiser_step(training)
        taken: list[float] = []
        while len(taken) < _FEWEST_STEPS or (time.monotonic() - start < seconds and len(taken) < _MOST_STEPS):
            if training.step == loaded.recipe.train.steps:
                break
            before = time.monotonic()
            optimiser_step(training)
            taken.append(time.monotonic() - before)
        step = statistics.median(taken) if taken else time.monotonic() - start
        before = time.monotonic()
        if len(training.data.validation):
            validate(training)
    return Pace(step, time.monotonic() - before)


def main(arguments: list[str]) -> int:
    """Time a recipe and print its pace."""
    from stkit.errors import StkitError
    from stkit.recipe.loaded import load

    path, seconds = arguments
    try:
        pace = measure(load(path), float(seconds))
    except StkitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({"step_seconds": pace.step_seconds, "validation_seconds": pace.validation_seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
