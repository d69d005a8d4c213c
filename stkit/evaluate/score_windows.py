"""Go once through the test part: forecast every window, score it beside the baselines, and keep what is to be kept.

Axes: ``M`` members, ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stkit.data.prepare import PreparedData
from stkit.data.source import SequenceSource
from stkit.evaluate.baseline_set import fitted_baselines
from stkit.evaluate.baselines import Baseline, Climatology
from stkit.evaluate.batches import Batch, baseline_forecast, rounds, windows_batch
from stkit.evaluate.cell_errors import CellErrors
from stkit.evaluate.cell_file import write_skill
from stkit.evaluate.comparison.intervals import with_intervals
from stkit.evaluate.forecast_file import ForecastFile
from stkit.evaluate.forecast_layout import Layout
from stkit.evaluate.ledger import Ledger
from stkit.evaluate.metric import Metric, area_weights
from stkit.evaluate.metric_set import fit_metrics, make_metrics
from stkit.evaluate.scores import Scores
from stkit.evaluate.summary import summarise
from stkit.evaluate.window_errors import ErrorsFile, ErrorsLayout, WindowErrors, read_errors, window_errors
from stkit.plugin.config import MetricConfig
from stkit.run.directory import RunDirectory
from stkit.run.files import write_json
from stkit.run.load import TrainedForecaster
from stkit.train.device import on_main, total

if TYPE_CHECKING:
    from accelerate import Accelerator

LOG = logging.getLogger("stkit.evaluate")


class Said(NamedTuple):
    """What is forecast of some windows, in physical units."""

    fields: NDArray[np.float32]
    """``B L C H W``; of an ensemble the mean of its members."""
    members: NDArray[np.float32] | None = None
    """``M B L C H W``; None: there is one forecast."""


@dataclass(frozen=True)
class Candidate:
    """What is scored."""

    forecast: Callable[[Batch, range], Said]
    """Of some windows of the test part, whose numbers are the range."""
    forecaster: TrainedForecaster
    """The model, or the first member; the report tells of it."""
    metrics: Mapping[str, MetricConfig]
    """The scores, by name."""
    attributes: Mapping[str, str]
    """Of the file with the forecasts."""
    members: int = 1
    about: str = ""
    """What is scored, in a few words; empty: the model tells."""


def score_windows(run: RunDirectory, data: PreparedData, candidate: Candidate, accelerator: Accelerator) -> Scores:
    """Score a forecast of the whole test part; write ``scores.json`` and the files beside it.

    Every process calls it. The windows are shared out without repeats, the sums of the scores are added, and the main
    process writes; the numbers are those of one process.

    Args:
        run: where the files go.
        data: what is forecast.
        candidate: what is scored.
        accelerator: of this process.

    Raises:
        DataError: a score or a baseline does not fit the data.
        RunFailed: the disk is full.
    """
    from stkit.evaluate.figures.forecasts import draw_forecasts

    recipe = candidate.forecaster.recipe
    metrics = make_metrics(candidate.metrics)
    baselines = fitted_baselines(recipe.evaluate.baselines, data)
    climatology = climatology_for(data, baselines, metrics)
    fit_metrics(metrics, data, climatology)
    grid = data.tested.grid
    sizes = {"leads": recipe.data.horizon, "variables": len(data.tested.variables)}
    weights = area_weights(grid.latitude, grid.height, grid.width)
    ledger = Ledger(metrics, ["model", *baselines], weights=weights, **sizes)
    cells = CellErrors(ledger.forecasts, height=grid.height, width=grid.width, **sizes)
    LOG.info("scoring %d windows of the test part", len(data.test))
    kept = _go_through(run, accelerator, data, candidate, ledger, cells, baselines, climatology)
    for sums in (ledger, cells):
        sums.replace(total(accelerator, torch.from_numpy(sums.vector()).to(accelerator.device)).cpu().numpy())
    scores = summarise(
        candidate.forecaster, data, ledger, baselines, tuple(candidate.metrics), candidate.members, candidate.about
    )

    def write() -> Scores:
        told = with_intervals(scores, read_errors(run.errors), metrics)
        write_json(run.scores, told.as_dict())
        write_skill(run.skill, cells, data.tested)
        draw_forecasts(run.figures, data, kept, cells)
        return told

    return on_main(accelerator, write)


def _go_through(
    run: RunDirectory,
    accelerator: Accelerator,
    data: PreparedData,
    candidate: Candidate,
    ledger: Ledger,
    cells: CellErrors,
    baselines: Mapping[str, Baseline],
    climatology: Climatology | None,
) -> dict[int, NDArray[np.float32]]:
    """Forecast every window once, add up the scores, write forecasts and errors; returns the forecasts to be shown."""
    recipe = candidate.forecaster.recipe
    size, horizon = recipe.evaluate.batch_size, recipe.data.horizon
    shown = _shown_windows(len(data.test), recipe.evaluate.maps)
    variables = len(data.tested.variables)
    kept: dict[int, NDArray[np.float32]] = {}
    with ExitStack() as stack:
        files: list[tuple[ForecastFile, ErrorsFile]] = []

        def begin() -> None:
            written = ForecastFile(run.forecast, _layout(data), candidate.attributes)
            stack.enter_context(written)
            files.append((written, stack.enter_context(ErrorsFile(run.errors, _errors_layout(data, ledger)))))

        on_main(accelerator, begin)
        for first, mine in rounds(len(data.test), size, accelerator.process_index, accelerator.num_processes):
            fields = np.empty((0, horizon, variables, *data.tested.grid.shape), dtype=np.float32)
            errors = np.empty((0, (2 + len(ledger.kept)) * len(ledger.forecasts) + 1, horizon, variables))
            if mine:
                batch = windows_batch(data, mine)
                said = candidate.forecast(batch, mine)
                fields = said.fields
                forecasts = {"model": fields}
                forecasts |= {name: baseline_forecast(baseline, batch) for name, baseline in baselines.items()}
                normal = None if climatology is None else baseline_forecast(climatology, batch).astype(np.float64)
                members = {} if said.members is None else {"model": said.members}
                statistics = ledger.add(batch.truth, forecasts, normal, members)
                cells.add(batch.truth, forecasts)
                errors = window_errors(batch.truth, list(forecasts.values()), ledger.weights, statistics).by_window()
            count = min(size * accelerator.num_processes, len(data.test) - first)
            fields = _all_of_round(accelerator, fields, size, count)
            errors = _all_of_round(accelerator, errors, size, count)

            def keep(first: int = first, fields: NDArray[Any] = fields, errors: NDArray[Any] = errors) -> None:
                files[0][0].write(first, fields)
                files[0][1].write(first, WindowErrors.of(errors, len(ledger.forecasts)))
                kept.update({index: fields[index - first] for index in shown if first <= index < first + len(fields)})

            on_main(accelerator, keep)
        # Closing the file can fail too, and then every process must hear of it.
        on_main(accelerator, stack.close)
    return kept


def _all_of_round(accelerator: Accelerator, mine: NDArray[Any], size: int, count: int) -> NDArray[Any]:
    """What all processes have of a round's windows, in order; complete on the main process."""
    if accelerator.num_processes == 1:
        return mine
    own = torch.from_numpy(mine)
    padded = torch.zeros(size, *own.shape[1:], dtype=own.dtype, device=accelerator.device)
    padded[: len(own)] = own.to(accelerator.device)
    gathered: Any = accelerator.gather(padded)
    # Shares are full but for the last ones of the last round, so what is padded lies behind what counts.
    return np.asarray(gathered[:count].cpu().numpy())


def climatology_for(
    data: PreparedData, baselines: Mapping[str, Baseline], metrics: Mapping[str, Metric]
) -> Climatology | None:
    """The climatology of the training part, where a score needs it."""
    if not any(metric.needs_climatology for metric in metrics.values()):
        return None
    found = baselines.get(Climatology.name) or data.baseline(Climatology.name)
    assert isinstance(found, Climatology)
    return found


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


def _errors_layout(data: PreparedData, ledger: Ledger) -> ErrorsLayout:
    layout = _layout(data)
    return ErrorsLayout(
        forecasts=ledger.forecasts,
        variables=data.tested.variables,
        starts=tuple(data.test.start(index) for index in range(len(data.test))),
        times=layout.starts,
        input_steps=data.config.input_steps,
        horizon=data.config.horizon,
        windows_hash=data.windows_hash,
        lead_unit=data.tested.step_name,
        share_steps=not isinstance(data.tested, SequenceSource),
        statistics=ledger.kept,
    )
