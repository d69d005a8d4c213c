"""Score a trained run on its test part, beside the baselines, and keep its forecasts."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from stkit.data.elsewhere import elsewhere
from stkit.data.prepare import PreparedData
from stkit.errors import DataError
from stkit.evaluate.batches import Batch
from stkit.evaluate.score_windows import Candidate, Said, score_windows
from stkit.evaluate.scores import Scores
from stkit.run.directory import RunDirectory
from stkit.run.load import TrainedForecaster, load
from stkit.run.origin import prepared
from stkit.train.device import make_accelerator

if TYPE_CHECKING:
    from accelerate import Accelerator


def evaluate_run(run: RunDirectory, accelerator: Accelerator | None = None) -> Scores:
    """Score a run on its test part; write ``scores.json``, ``errors.nc``, ``forecast.nc`` and the figures of forecasts.

    Every process calls it (:func:`stkit.evaluate.score_windows.score_windows`).

    Args:
        run: a run with a checkpoint.
        accelerator: null: made for this process.

    Raises:
        UsageError: it is no run, or has no checkpoint (:class:`CheckpointError`), or its data cannot be had or are
            not those that it was trained on (:class:`DataError`).
        RunFailed: the disk is full.
    """
    accelerator = accelerator or make_accelerator()
    forecaster = load(run.path, device=accelerator.device)
    data = prepared(run, forecaster.recipe)
    check_same_windows(run, data)
    here = on_test_grid(forecaster, data)

    def forecast(batch: Batch, _windows: range) -> Said:
        return Said(np.asarray(model_forecast(here, data, batch).cpu().numpy()))

    candidate = Candidate(forecast, here, forecaster.recipe.evaluate.scores, _attributes(run, forecaster))
    return score_windows(run, data, candidate, accelerator)


def on_test_grid(forecaster: TrainedForecaster, data: PreparedData) -> TrainedForecaster:
    """The forecaster for the grid of the test part, which may be another record than that of the training."""
    test = data.test.pipeline
    difference = forecaster.pipeline.grid.difference(test.grid)
    if difference is None:
        return forecaster
    pipeline = elsewhere(forecaster.pipeline, test.grid, test.valid.to(forecaster.device), data.tested.name)
    return TrainedForecaster(forecaster.forecaster, pipeline, forecaster.recipe, forecaster.trained_steps)


def model_forecast(forecaster: TrainedForecaster, data: PreparedData, batch: Batch) -> torch.Tensor:
    """What a model says of some windows: ``B L C H W`` in physical units, on the CPU: a device holds a part of it."""
    pieces = forecaster.pieces(
        batch.context[:, :, : data.state_channels],
        batch.truth.shape[1],
        times=batch.context_times,
        target_times=batch.target_times,
        forcing=batch.forcing,
    )
    return torch.cat([said.cpu() for _, said in pieces], dim=1)


def check_same_windows(run: RunDirectory, data: PreparedData) -> None:
    """Refuse data that changed: what is the test part now may have been trained on."""
    trained = run.read_record().get("windows_hash")
    if trained is not None and trained != data.windows_hash:
        raise DataError(
            f"{data.tested.name}: the data are not those of the run any more (test windows {data.windows_hash}, "
            f"run.json says {trained}): the test part may hold what the model was trained on, so it is not scored"
        )


def _attributes(run: RunDirectory, forecaster: TrainedForecaster) -> dict[str, str]:
    record = run.read_record()
    return {
        "title": f"Forecasts of the test part: {forecaster.recipe.summary or record.get('name', '')}",
        "source": f"stkit-torch {version('stkit-torch')}, recipe {record.get('name')} "
        f"({str(record.get('recipe_hash'))[:12]}), weights of step {forecaster.trained_steps}",
    }
