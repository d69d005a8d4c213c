"""Errors of several models and the baselines on the same windows, by lead time.

Axes: ``B`` windows, ``T`` input steps, ``L`` lead times, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stkit.data.prepare import PreparedData
from stkit.evaluate.ledger import shared_cells
from stkit.evaluate.metric import area_weights
from stkit.run.load import TrainedForecaster


@dataclass(frozen=True)
class PartErrors:
    """Root mean squared errors by variable, forecast and lead time, on cells that all forecasts share."""

    part: str
    """Which windows, in words."""
    windows: int
    rmse: Mapping[str, Mapping[str, tuple[float | None, ...]]]
    """For each variable, for each forecast, by lead time; None where no cell could be scored."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def part_errors(
    part: str, data: PreparedData, models: Mapping[str, TrainedForecaster], baselines: Sequence[str], batch: int
) -> PartErrors:
    """Errors on the test part of some data.

    Args:
        part: what it is called.
        data: whose test part.
        models: by the names that they are told by; each takes the data's variables.
        baselines: their names.
        batch: windows at a time.
    """
    fitted = {name: data.baseline(name) for name in baselines}
    grid, horizon, known = data.source.grid, data.config.horizon, data.config.input_steps
    weights = area_weights(grid.latitude, grid.height, grid.width)
    names = [*models, *fitted]
    squares = np.zeros((len(names), horizon, len(data.source.variables)))
    weight = np.zeros(squares.shape[1:])
    for first in range(0, len(data.test), batch):
        raw = [data.test.raw(index) for index in range(first, min(first + batch, len(data.test)))]
        fields = torch.stack([window.fields for window in raw])
        times = None if raw[0].times is None else np.stack([window.times for window in raw if window.times is not None])
        past, ahead = (None, None) if times is None else (times[:, :known], times[:, known:])
        forcing = None
        if raw[0].forcing is not None:
            forcing = torch.stack([window.forcing for window in raw if window.forcing is not None])
        context, truth = fields[:, :known], fields[:, known:].numpy()
        said: list[NDArray[np.float32]] = []
        for model in models.values():
            state = context[:, :, : model.pipeline.state_channels]
            forecast = model(state, horizon, times=past, target_times=ahead, forcing=forcing)
            said.append(forecast.cpu().numpy())
        said += [one.forecast(context, past, horizon if ahead is None else ahead).numpy() for one in fitted.values()]
        counted = shared_cells(truth, said)
        weight += (counted * weights).sum((0, 3, 4))
        for number, fields_said in enumerate(said):
            error = np.where(counted, fields_said.astype(np.float64) - truth, 0.0)
            squares[number] += (np.square(error) * weights).sum((0, 3, 4))
    with np.errstate(invalid="ignore", divide="ignore"):
        rmse = np.sqrt(squares / weight)
    return PartErrors(
        part,
        len(data.test),
        {
            variable.name: {name: _plain(rmse[number, :, channel]) for number, name in enumerate(names)}
            for channel, variable in enumerate(data.source.variables)
        },
    )


def _plain(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(float(value) if np.isfinite(value) else None for value in values)
