"""From sums to scores, skill and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import as_text, is_monthly
from stkit.data.prepare import PreparedData
from stkit.data.source import SequenceSource
from stkit.evaluate.baselines import Baseline
from stkit.evaluate.ledger import Ledger
from stkit.evaluate.optimal import Optimal
from stkit.evaluate.scores import SQUARED, CurveScores, ScoreInfo, Scores, VariableScores, finite, skill_horizon
from stkit.evaluate.verdict import Headline, Order, independent, verdict
from stkit.run.load import TrainedForecaster

_SQUARED_ERRORS = (SQUARED, "rmse", "mse_per_frame")
"""Scores that rank forecasts as the squared error does."""
_A_DAY = np.timedelta64(1, "D")


def summarise(
    forecaster: TrainedForecaster,
    data: PreparedData,
    ledger: Ledger,
    baselines: Mapping[str, Baseline],
    names: tuple[str, ...],
    members: int = 1,
    about: str = "",
) -> Scores:
    """The scores of a run from the sums over its whole test part.

    Args:
        forecaster: the model that was scored.
        data: what it was scored on.
        ledger: the sums, of all processes.
        baselines: what it was compared with.
        names: the scores that the recipe asks for.
        members: forecasts that it is the mean of; the forecaster is that of the first of them.
        about: what was scored, in a few words; empty: the model tells.
    """
    variables: dict[str, VariableScores] = {}
    squares: dict[str, dict[str, Any]] = {}
    for channel, variable in enumerate(data.tested.variables):
        square = {name: ledger.score(name, SQUARED)[:, channel] for name in ledger.forecasts}
        squares[variable.name] = {name: finite(values) for name, values in square.items()}
        numbers = {
            forecast: {name: finite(ledger.score(forecast, name)[:, channel]) for name in names}
            for forecast in ledger.forecasts
        }
        variables[variable.name] = VariableScores(
            units=variable.units,
            long_name=variable.long_name,
            all_cells=int(ledger.all_cells[channel]),
            true_cells=int(ledger.true_cells[channel]),
            counted_cells=int(ledger.counted_cells[channel]),
            scores=numbers,
            skill={name: finite(_skill(square["model"], square[name])) for name in baselines},
            beside={
                name: {words: finite(values[:, channel]) for words, values in beside.items()}
                for name in names
                if (beside := ledger.beside(name))
            },
            skill_horizon={
                name: {forecast: skill_horizon(scores[name], useful) for forecast, scores in numbers.items()}
                for name in names
                if (useful := ledger.metrics[name].useful_from) is not None
            },
            curves={name: curve for name in names if (curve := _curve(ledger, name, channel)) is not None},
        )
    infos = {name: ScoreInfo.of(ledger.metrics[name]) for name in names}
    windows = len(data.test)
    starts = [data.test.start(index) for index in range(windows)]
    apart = windows if isinstance(data.tested, SequenceSource) else independent(starts, data.test.frames)
    return Scores(
        windows=windows,
        independent_windows=apart,
        windows_hash=data.windows_hash,
        span=_span(data),
        input_steps=data.config.input_steps,
        lead_steps=tuple(range(1, data.config.horizon + 1)),
        lead_unit=data.tested.step_name,
        forecasts={
            "model": about or _model_words(forecaster),
            **{name: _words(one, data) for name, one in baselines.items()},
        },
        metrics=infos,
        variables=variables,
        verdict=verdict(
            squares,
            windows=windows,
            independent_windows=apart,
            seed=forecaster.recipe.seed,
            members=members,
            one_event=_one_event(data),
            headlines={name: one for name, variable in variables.items() if (one := _headline(infos, variable))},
        ),
        data=_sources(data),
    )


def _headline(infos: Mapping[str, ScoreInfo], variable: VariableScores) -> Headline | None:
    """The first score, by which forecasts are compared first; None where that is the squared error."""
    first = next(iter(infos), SQUARED)
    if first in _SQUARED_ERRORS:
        return None
    info = infos[first]
    values = {forecast: scores[first] for forecast, scores in variable.scores.items()}
    return Headline(Order(info.name(variable.units), info.better), values)


def _curve(ledger: Ledger, metric: str, channel: int) -> CurveScores | None:
    """The lines of every forecast that has some; None where no forecast has."""
    curves = {forecast: curve for forecast in ledger.forecasts if (curve := ledger.curve(forecast, metric))}
    if not curves:
        return None
    first = next(iter(curves.values()))
    lines = {
        forecast: {name: tuple(finite(lead) for lead in values[..., channel].T) for name, values in curve.lines.items()}
        for forecast, curve in curves.items()
    }
    return CurveScores(first.x_label, first.x, lines)


def _one_event(data: PreparedData) -> bool:
    """Whether all of the test part is within a day, such as one passage of rain."""
    times = data.tested.times
    if times is None:
        return False
    part = data.split_summary["test"]
    length = times[part["stop"] - 1] - times[part["start"]]
    return bool(length < _A_DAY)


def _sources(data: PreparedData) -> dict[str, str]:
    """Where the fields come from."""
    one = data.source
    found = {"data set": one.name, "licence": one.licence, "cite": one.citation}
    if data.tested is not one and data.config.test_dataset is not None:
        other = data.tested
        found |= {"tested on": other.name, "its licence": other.licence, "cite for it": other.citation}
    return found


def _skill(model: NDArray[np.float64], baseline: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 - np.divide(model, baseline, out=np.full_like(model, np.nan), where=baseline > 0)


def _model_words(forecaster: TrainedForecaster) -> str:
    return f"{model_words(forecaster)}, weights of step {forecaster.trained_steps}"


def model_words(forecaster: TrainedForecaster) -> str:
    """Architecture and size of a model in a few words."""
    model = forecaster.recipe.model
    layers = len(model.layers)
    parameters = sum(parameter.numel() for parameter in forecaster.forecaster.parameters())
    return f"{model.name or model.cell.name}, {layers} layer{'s' if layers > 1 else ''}, {parameters} parameters"


def _words(baseline: Baseline, data: PreparedData) -> str:
    if isinstance(baseline, Optimal):
        starts = [data.test.start(index) for index in range(len(data.test))]
        return baseline.words(starts, data.config.input_steps, data.config.horizon)
    return baseline.about


def _span(data: PreparedData) -> str:
    test, times = data.split_summary["test"], data.tested.times
    if times is None:
        return f"{test['steps']} time steps" if test.get("steps") else f"{len(data.test)} sequences"
    first, last = (time_text(times[at], data.pipeline.step) for at in (test["start"], test["stop"] - 1))
    return f"{first} to {last}"


def time_text(time: np.datetime64, step: np.timedelta64 | None) -> str:
    """A time of a record as a person writes it: the month is enough for a monthly one."""
    if step is not None and is_monthly(step):
        return str(time.astype("datetime64[M]"))
    return as_text(time).replace("T", " ")
