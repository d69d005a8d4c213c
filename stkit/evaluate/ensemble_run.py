"""Score several runs together, as an ensemble: their mean as a forecast, and their members as probabilities.

Axes: ``M`` members, ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from stkit.data.prepare import prepare
from stkit.errors import UsageError
from stkit.evaluate.baseline_set import fitted_baselines
from stkit.evaluate.ledger import Ledger
from stkit.evaluate.metric import area_weights
from stkit.evaluate.metric_config import FixedConfig
from stkit.evaluate.metric_set import fit_metrics, make_metrics
from stkit.evaluate.run import (
    baseline_forecast,
    check_same_windows,
    climatology_for,
    model_forecast,
    on_test_grid,
    rounds,
    windows_batch,
)
from stkit.evaluate.scores import Scores
from stkit.evaluate.summary import summarise
from stkit.run.directory import RunDirectory
from stkit.run.load import load

LOG = logging.getLogger("stkit.evaluate")

ENSEMBLE_SCORES = ("crps", "spread_skill", "rank_histogram")
"""Always beside those that the recipe names."""


def evaluate_ensemble(runs: Sequence[RunDirectory], device: str = "cpu") -> Scores:
    """Score runs of the same test windows as members of one ensemble. Nothing is written into the runs.

    The scores are those of the first run's recipe and :data:`ENSEMBLE_SCORES`; the model of the scores that know no
    members is the mean of the members, which is smoother than any of them. The test part is read once; of a batch the
    forecasts of all members are held together.

    Args:
        runs: two or more, each with a checkpoint.
        device: where to forecast.

    Raises:
        UsageError: fewer than two runs, one is named twice, or they were not trained and tested on the same windows.
        DataError: the data are not those that they were trained on.
    """
    if len(runs) < 2:
        raise UsageError(f"an ensemble has two or more members; {len(runs)} was given: name more runs")
    paths = [run.path.resolve() for run in runs]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise UsageError(f"{runs[place].path} is named twice: a run is no other member than itself")
    members = [load(run.path, device=device) for run in runs]
    recipe = members[0].recipe
    data = prepare(recipe.data, recipe.seed)
    for run, member in zip(runs, members, strict=True):
        if member.recipe.data != recipe.data:
            raise UsageError(
                f"{run.path}: its data section is not that of {runs[0].path}: members forecast the same windows "
                "from the same training part"
            )
        check_same_windows(run, data)
    members = [on_test_grid(member, data) for member in members]
    configs = recipe.evaluate.scores
    configs |= {name: FixedConfig(name=name) for name in ENSEMBLE_SCORES if name not in configs}
    metrics = make_metrics(configs)
    baselines = fitted_baselines(recipe.evaluate.baselines, data)
    climatology = climatology_for(data, baselines, metrics)
    fit_metrics(metrics, data, climatology)
    grid, horizon = data.tested.grid, recipe.data.horizon
    ledger = Ledger(
        metrics,
        ["model", *baselines],
        leads=horizon,
        variables=len(data.tested.variables),
        weights=area_weights(grid.latitude, grid.height, grid.width),
    )
    LOG.info("scoring %d windows of the test part with %d members", len(data.test), len(members))
    for _, windows in rounds(len(data.test), recipe.evaluate.batch_size, 0, 1):
        batch = windows_batch(data, windows)
        several = np.stack([model_forecast(member, data, batch).cpu().numpy() for member in members])
        forecasts = {"model": several.mean(axis=0)}
        forecasts |= {name: baseline_forecast(baseline, batch) for name, baseline in baselines.items()}
        normal = None if climatology is None else baseline_forecast(climatology, batch).astype(np.float64)
        ledger.add(batch.truth, forecasts, normal, {"model": several})
    return summarise(members[0], data, ledger, baselines, tuple(configs), members=len(members))
