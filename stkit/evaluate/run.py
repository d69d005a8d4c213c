"""Score a trained run on its test part, beside the baselines, and keep its forecasts.

Axes: ``B`` windows, ``T`` input steps, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from stkit.data.calendar import Times
from stkit.data.elsewhere import elsewhere
from stkit.data.prepare import PreparedData
from stkit.data.source import SequenceSource
from stkit.errors import DataError
from stkit.evaluate.baseline_set import fitted_baselines
from stkit.evaluate.baselines import Baseline, Climatology
from stkit.evaluate.cell_errors import CellErrors
from stkit.evaluate.forecast_file import ForecastFile
from stkit.evaluate.forecast_layout import Layout
from stkit.evaluate.ledger import Ledger
from stkit.evaluate.metric import Metric, area_weights
from stkit.evaluate.metric_set import fit_metrics, make_metrics
from stkit.evaluate.scores import Scores
from stkit.evaluate.summary import summarise
from stkit.evaluate.window_errors import ErrorsFile, ErrorsLayout, WindowErrors, window_errors
from stkit.run.directory import RunDirectory
from stkit.run.files import write_json
from stkit.run.load import TrainedForecaster, load
from stkit.run.origin import prepared
from stkit.train.device import make_accelerator, on_main, total

if TYPE_CHECKING:
    from accelerate import Accelerator

LOG = logging.getLogger("stkit.evaluate")


@dataclass(frozen=True)
class Batch:
    """Some windows of the test part, in physical units."""

    context: NDArray[np.float32]
    """``B T C H W``."""
    truth: NDArray[np.float32]
    """``B L C H W``."""
    context_times: Times | None
    """``B T``."""
    target_times: Times | None
    """``B L``."""
    forcing: NDArray[np.float32] | None = None
    """``B T+L F H W``: of the context and of the frames to forecast."""


def evaluate_run(run: RunDirectory, accelerator: Accelerator | None = None) -> Scores:
    """Score a run on its test part; write ``scores.json``, ``errors.nc``, ``forecast.nc`` and the figures of forecasts.

    Every process calls it. The windows are shared out without repeats, the sums of the scores are added, and the main
    process writes; the numbers are those of one process.

    Args:
        run: a run with a checkpoint.
        accelerator: null: made for this process.

    Raises:
        UsageError: it is no run, or has no checkpoint (:class:`CheckpointError`), or its data cannot be had or are
            not those that it was trained on (:class:`DataError`).
        RunFailed: the disk is full.
    """
    from stkit.evaluate.figures.forecasts import draw_forecasts

    accelerator = accelerator or make_accelerator()
    forecaster = load(run.path, device=accelerator.device)
    recipe = forecaster.recipe
    data = prepared(run, recipe)
    check_same_windows(run, data)
    forecaster = on_test_grid(forecaster, data)
    metrics = make_metrics(recipe.evaluate.scores)
    baselines = fitted_baselines(recipe.evaluate.baselines, data)
    climatology = climatology_for(data, baselines, metrics)
    fit_metrics(metrics, data, climatology)
    grid = data.tested.grid
    ledger = Ledger(
        metrics,
        ["model", *baselines],
        leads=recipe.data.horizon,
        variables=len(data.tested.variables),
        weights=area_weights(grid.latitude, grid.height, grid.width),
    )
    cells = CellErrors(
        ledger.forecasts,
        leads=recipe.data.horizon,
        variables=len(data.tested.variables),
        height=grid.height,
        width=grid.width,
    )
    LOG.info("scoring %d windows of the test part", len(data.test))
    shown = _shown_windows(len(data.test), recipe.evaluate.maps)
    kept = _go_through(run, accelerator, forecaster, data, ledger, cells, baselines, climatology, shown)
    for sums in (ledger, cells):
        sums.replace(total(accelerator, torch.from_numpy(sums.vector()).to(accelerator.device)).cpu().numpy())
    scores = summarise(forecaster, data, ledger, baselines, tuple(recipe.evaluate.scores))

    def write() -> None:
        write_json(run.scores, scores.as_dict())
        draw_forecasts(run.figures, data, kept, cells)

    on_main(accelerator, write)
    return scores


def on_test_grid(forecaster: TrainedForecaster, data: PreparedData) -> TrainedForecaster:
    """The forecaster for the grid of the test part, which may be another record than that of the training."""
    test = data.test.pipeline
    difference = forecaster.pipeline.grid.difference(test.grid)
    if difference is None:
        return forecaster
    pipeline = elsewhere(forecaster.pipeline, test.grid, test.valid.to(forecaster.device), data.tested.name)
    return TrainedForecaster(forecaster.forecaster, pipeline, forecaster.recipe, forecaster.trained_steps)


def _go_through(
    run: RunDirectory,
    accelerator: Accelerator,
    forecaster: TrainedForecaster,
    data: PreparedData,
    ledger: Ledger,
    cells: CellErrors,
    baselines: Mapping[str, Baseline],
    climatology: Climatology | None,
    shown: tuple[int, ...],
) -> dict[int, NDArray[np.float32]]:
    """Forecast every window once, add up the scores, write forecasts and errors; returns the forecasts to be shown."""
    size, horizon = forecaster.recipe.evaluate.batch_size, forecaster.recipe.data.horizon
    variables = len(data.tested.variables)
    kept: dict[int, NDArray[np.float32]] = {}
    with ExitStack() as stack:
        files: list[tuple[ForecastFile, ErrorsFile]] = []

        def begin() -> None:
            written = ForecastFile(run.forecast, _layout(data), _attributes(run, forecaster))
            stack.enter_context(written)
            files.append((written, stack.enter_context(ErrorsFile(run.errors, _errors_layout(data, ledger.forecasts)))))

        on_main(accelerator, begin)
        for first, mine in rounds(len(data.test), size, accelerator.process_index, accelerator.num_processes):
            said = torch.empty(0, horizon, variables, *data.grid)
            errors = np.empty((0, 2 * len(ledger.forecasts) + 1, horizon, variables))
            if mine:
                batch = windows_batch(data, mine)
                said = model_forecast(forecaster, data, batch)
                forecasts = {"model": said.cpu().numpy()}
                forecasts |= {name: baseline_forecast(baseline, batch) for name, baseline in baselines.items()}
                normal = None if climatology is None else baseline_forecast(climatology, batch).astype(np.float64)
                ledger.add(batch.truth, forecasts, normal)
                cells.add(batch.truth, forecasts)
                errors = window_errors(batch.truth, list(forecasts.values()), ledger.weights).by_window()
            count = min(size * accelerator.num_processes, len(data.test) - first)
            fields = _all_of_round(accelerator, said, size, count)
            errors = _all_of_round(accelerator, torch.from_numpy(errors), size, count)

            def keep(first: int = first, fields: NDArray[Any] = fields, errors: NDArray[Any] = errors) -> None:
                files[0][0].write(first, fields)
                files[0][1].write(first, WindowErrors.of(errors))
                kept.update({index: fields[index - first] for index in shown if first <= index < first + len(fields)})

            on_main(accelerator, keep)
        # Closing the file can fail too, and then every process must hear of it.
        on_main(accelerator, stack.close)
    return kept


def model_forecast(forecaster: TrainedForecaster, data: PreparedData, batch: Batch) -> torch.Tensor:
    """What a model says of some windows: ``B L C H W`` in physical units."""
    return forecaster(
        batch.context[:, :, : data.state_channels],
        batch.truth.shape[1],
        times=batch.context_times,
        target_times=batch.target_times,
        forcing=batch.forcing,
    )


def rounds(windows: int, size: int, rank: int, world: int) -> Iterator[tuple[int, range]]:
    """The first window of each round, and this process's share of the round: at most ``size`` windows, none twice."""
    for first in range(0, windows, size * world):
        start = min(first + rank * size, windows)
        yield first, range(start, min(start + size, windows))


def _all_of_round(accelerator: Accelerator, mine: torch.Tensor, size: int, count: int) -> NDArray[Any]:
    """What all processes have of a round's windows, in order; complete on the main process."""
    if accelerator.num_processes == 1:
        return np.asarray(mine.cpu().numpy())
    padded = torch.zeros(size, *mine.shape[1:], dtype=mine.dtype, device=accelerator.device)
    padded[: len(mine)] = mine.to(accelerator.device)
    gathered: Any = accelerator.gather(padded)
    # Shares are full but for the last ones of the last round, so what is padded lies behind what counts.
    return np.asarray(gathered[:count].cpu().numpy())


def windows_batch(data: PreparedData, windows: range) -> Batch:
    """Some windows of the test part."""
    raw = [data.test.raw(index) for index in windows]
    fields = torch.stack([window.fields for window in raw]).numpy()
    times = np.stack([window.times for window in raw if window.times is not None]) if raw[0].times is not None else None
    known = data.config.input_steps
    return Batch(
        context=fields[:, :known],
        truth=fields[:, known:],
        context_times=None if times is None else times[:, :known],
        target_times=None if times is None else times[:, known:],
        forcing=None
        if raw[0].forcing is None
        else torch.stack([window.forcing for window in raw if window.forcing is not None]).numpy(),
    )


def baseline_forecast(baseline: Baseline, batch: Batch) -> NDArray[np.float32]:
    """What a baseline says of some windows: ``B L C H W`` in physical units."""
    targets = batch.truth.shape[1] if batch.target_times is None else batch.target_times
    said = baseline.forecast(torch.from_numpy(batch.context), batch.context_times, targets)
    return np.asarray(said.numpy())


def climatology_for(
    data: PreparedData, baselines: Mapping[str, Baseline], metrics: Mapping[str, Metric]
) -> Climatology | None:
    """The climatology of the training part, where a score needs it."""
    if not any(metric.needs_climatology for metric in metrics.values()):
        return None
    found = baselines.get(Climatology.name) or data.baseline(Climatology.name)
    assert isinstance(found, Climatology)
    return found


def check_same_windows(run: RunDirectory, data: PreparedData) -> None:
    """Refuse data that changed: what is the test part now may have been trained on."""
    trained = run.read_record().get("windows_hash")
    if trained is not None and trained != data.windows_hash:
        raise DataError(
            f"{data.tested.name}: the data are not those of the run any more (test windows {data.windows_hash}, "
            f"run.json says {trained}): the test part may hold what the model was trained on, so it is not scored"
        )


def _shown_windows(windows: int, count: int) -> tuple[int, ...]:
    """Spread evenly over the test part; the first one if there is one only."""
    if count == 0:
        return ()
    return tuple(int(i) for i in np.unique(np.linspace(0, windows - 1, min(count, windows)).round()))


def _layout(data: PreparedData) -> Layout:
    test, known = data.test, data.config.input_steps
    times = data.tested.times
    starts = np.array([test.start(index) for index in range(len(test))])
    last = None if times is None else times[starts + known - 1]
    valid = None
    if times is not None:
        valid = times[starts[:, None] + known + np.arange(data.config.horizon)]
    return Layout(
        variables=data.tested.variables,
        grid=data.tested.grid,
        windows=len(test),
        leads=data.config.horizon,
        step=data.pipeline.step,
        starts=last,
        valid=valid,
        numbers=tuple(int(start) for start in starts),
    )


def _errors_layout(data: PreparedData, forecasts: tuple[str, ...]) -> ErrorsLayout:
    layout = _layout(data)
    return ErrorsLayout(
        forecasts=forecasts,
        variables=data.tested.variables,
        starts=tuple(data.test.start(index) for index in range(len(data.test))),
        times=layout.starts,
        input_steps=data.config.input_steps,
        horizon=data.config.horizon,
        windows_hash=data.windows_hash,
        lead_unit=data.tested.step_name,
        share_steps=not isinstance(data.tested, SequenceSource),
    )


def _attributes(run: RunDirectory, forecaster: TrainedForecaster) -> dict[str, str]:
    record = run.read_record()
    return {
        "title": f"Forecasts of the test part: {forecaster.recipe.summary or record.get('name', '')}",
        "source": f"stkit-torch {version('stkit-torch')}, recipe {record.get('name')} "
        f"({str(record.get('recipe_hash'))[:12]}), weights of step {forecaster.trained_steps}",
    }
