"""Score an ensemble: several runs together, or the members in a file of forecasts.

Its mean is scored as a forecast, and its members as probabilities. Nothing is written into the runs; what is written is
a folder of its own, with the files of a run: ``scores.json``, ``errors.nc``, ``forecast.nc`` (the mean), a report.

Axes: ``M`` members, ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stkit.data.prepare import PreparedData
from stkit.errors import UsageError
from stkit.evaluate.batches import Batch
from stkit.evaluate.forecast_input import ForecastInput
from stkit.evaluate.metric_config import FixedConfig
from stkit.evaluate.run import check_same_windows, model_forecast, on_test_grid
from stkit.evaluate.score_windows import Candidate, Said, score_windows
from stkit.evaluate.scores import Scores
from stkit.evaluate.summary import model_words
from stkit.plugin.config import MetricConfig
from stkit.run.directory import RunDirectory, refuse_occupied
from stkit.run.files import told_when_full, write_text
from stkit.run.load import TrainedForecaster, load
from stkit.run.origin import prepared
from stkit.run.record import command, now
from stkit.train.device import make_accelerator, on_main

if TYPE_CHECKING:
    from accelerate import Accelerator

ENSEMBLE_SCORES = ("crps", "spread_skill", "rank_histogram")
"""Always beside those that the recipe names."""
_FROM_RUN = (
    "name",
    "summary",
    "recipe_hash",
    "seed",
    "versions",
    "plugins",
    "platform",
    "python",
    "device",
    "precision",
    "world_size",
    "split",
    "windows_hash",
)


def evaluate_ensemble(
    runs: Sequence[RunDirectory], out: str | Path, accelerator: Accelerator | None = None
) -> tuple[Scores, RunDirectory]:
    """Score runs of the same test windows as members of one ensemble.

    The scores are those of the first run's recipe and :data:`ENSEMBLE_SCORES`; the model of the scores that know no
    members is the mean of the members, which is smoother than any of them. The test part is read once; of a batch the
    forecasts of all members are held together. Every process calls it.

    Args:
        runs: two or more, each with a checkpoint.
        out: a folder that is new or empty.
        accelerator: null: made for this process.

    Raises:
        UsageError: fewer than two runs, one is named twice, they were not trained and tested on the same windows, or
            the folder is not free.
        DataError: the data are not those that they were trained on.
    """
    accelerator = accelerator or make_accelerator()
    on_main(accelerator, lambda: refuse_occupied(Path(out)))
    if len(runs) < 2:
        raise UsageError(f"an ensemble has two or more members; {len(runs)} was given: name more runs")
    paths = [run.path.resolve() for run in runs]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise UsageError(f"{runs[place].path} is named twice: a run is no other member than itself")
    loaded = [load(run.path, device=accelerator.device) for run in runs]
    recipe = loaded[0].recipe
    data = prepared(runs[0], recipe)
    for run, member in zip(runs, loaded, strict=True):
        if member.recipe.data != recipe.data:
            raise UsageError(
                f"{run.path}: its data section is not that of {runs[0].path}: members forecast the same windows "
                "from the same training part"
            )
        check_same_windows(run, data)
    members = [on_test_grid(member, data) for member in loaded]

    def forecast(batch: Batch, _windows: range) -> Said:
        several = np.stack([model_forecast(member, data, batch).cpu().numpy() for member in members])
        return Said(several.mean(axis=0), several)

    names = [str(run.path) for run in runs]
    about = f"mean of an ensemble of {len(runs)} runs; the first: {model_words(members[0])}"
    candidate = _candidate(forecast, members[0], len(runs), f"the mean of {', '.join(names)}", about)
    again = f"stkit eval {' '.join(names)} --ensemble --out FOLDER"
    return _scored(runs[0], data, candidate, out, accelerator, f"An ensemble of {len(runs)} runs", again)


def evaluate_forecasts(
    run: RunDirectory, file: Path, out: str | Path, accelerator: Accelerator | None = None
) -> tuple[Scores, RunDirectory]:
    """Score the forecasts in a file on the test part of a run: what ``stkit predict`` wrote, with or without members.

    Args:
        run: whose test part, scores and baselines.
        file: forecasts from every start of the test part.
        out: a folder that is new or empty.
        accelerator: null: made for this process.

    Raises:
        UsageError: the file cannot be read, or the folder is not free.
        DataError: the file does not hold what the test part asks for.
    """
    accelerator = accelerator or make_accelerator()
    on_main(accelerator, lambda: refuse_occupied(Path(out)))
    forecaster = load(run.path, device=accelerator.device)
    data = prepared(run, forecaster.recipe)
    check_same_windows(run, data)
    given = ForecastInput(file, data)
    mean = f"mean of an ensemble of {given.members} members, " if given.members > 1 else ""
    about = f"{mean}forecasts from {file.name}"
    candidate = _candidate(given.forecast, on_test_grid(forecaster, data), given.members, str(file), about)
    several = f"An ensemble of {given.members} members" if given.members > 1 else "Forecasts"
    again = f"stkit eval {run.path} --forecasts {file} --out FOLDER"
    return _scored(run, data, candidate, out, accelerator, f"{several} from {file.name}", again)


def _candidate(
    forecast: Callable[[Batch, range], Said], forecaster: TrainedForecaster, members: int, source: str, about: str
) -> Candidate:
    configs: dict[str, MetricConfig] = dict(forecaster.recipe.evaluate.scores)
    if members > 1:
        configs |= {name: FixedConfig(name=name) for name in ENSEMBLE_SCORES if name not in configs}
    attributes = {
        "title": "Forecasts of the test part" + (": the mean of an ensemble" if members > 1 else ""),
        "source": f"stkit-torch {version('stkit-torch')}, {source}",
    }
    return Candidate(forecast, forecaster, configs, attributes, members, about)


def _scored(
    first: RunDirectory,
    data: PreparedData,
    candidate: Candidate,
    out: str | Path,
    accelerator: Accelerator,
    summary: str,
    again: str,
) -> tuple[Scores, RunDirectory]:
    """Score into a folder that a report can be made from."""
    folder = RunDirectory(Path(out))

    def begin() -> None:
        with told_when_full(folder.path):
            folder.figures.mkdir(parents=True, exist_ok=True)
        write_text(folder.recipe, first.recipe.read_text(encoding="utf-8"))
        about = {name: value for name, value in first.read_record().items() if name in _FROM_RUN}
        own = {"summary": summary, "command": command(), "started": now(), "members": candidate.members}
        folder.update_record(**{**about, **own, "repeat": again, "outcome": "running"})

    on_main(accelerator, begin)
    scores = score_windows(folder, data, candidate, accelerator)
    on_main(accelerator, lambda: folder.update_record(outcome="finished", finished=now()))
    return scores, folder
