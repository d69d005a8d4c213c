"""The error of each window by itself: what comparisons of runs are made from.

``errors.nc`` of a run has the dimensions ``forecast`` (the model and its baselines), ``start`` (the windows of the test
part), ``lead_time`` and ``variable``. ``squared_error`` and ``absolute_error`` are means over the cells of a window's
frame that count for every forecast, weighted by the cosine of latitude where there is one; ``weight`` is the sum of
those weights. So ``sum(weight * squared_error) / sum(weight)`` over the windows is the mean squared error of the run.
``statistics`` is what the scores are made of, window by window: added over windows they give any score of these windows
(:meth:`stkit.evaluate.metric.Metric.score`); ``statistic_of`` says to which score each belongs.

Axes: ``F`` forecasts, ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width, ``N`` statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5netcdf  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times
from stkit.data.source import Variable
from stkit.errors import UsageError
from stkit.evaluate.forecast_layout import encode
from stkit.evaluate.ledger import shared_cells
from stkit.evaluate.metric import Array
from stkit.evaluate.whole_file import WholeFile
from stkit.run.files import told_when_full

FORMAT = 1
"""Number of the layout of ``errors.nc``; a reader refuses another one."""


class WindowErrors(NamedTuple):
    """Errors of some windows."""

    squared: Array
    """``F B L C``: mean squared error, NaN where no cell counts."""
    absolute: Array
    """``F B L C``: mean absolute error, NaN where no cell counts."""
    weight: Array
    """``B L C``: sum of the weights of the cells that count."""
    statistics: Array
    """``F B N L C``: what the scores are made of."""

    def by_window(self) -> Array:
        """All in one array ``B (2 + N)F+1 L C``, for gathering the windows of several processes."""
        forecasts, windows, statistics = self.statistics.shape[:3]
        flat = self.statistics.swapaxes(0, 1).reshape(windows, forecasts * statistics, *self.weight.shape[1:])
        parts = [self.squared.swapaxes(0, 1), self.absolute.swapaxes(0, 1), flat, self.weight[:, None]]
        return np.concatenate(parts, axis=1)

    @classmethod
    def of(cls, by_window: Array, forecasts: int) -> WindowErrors:
        """The inverse of :meth:`by_window`, of so many forecasts."""
        windows, width, *rest = by_window.shape
        statistics = (width - 1) // forecasts - 2
        squared, absolute, flat, weight = np.split(by_window, [forecasts, 2 * forecasts, width - 1], axis=1)
        several = flat.reshape(windows, forecasts, statistics, *rest)
        return cls(squared.swapaxes(0, 1), absolute.swapaxes(0, 1), weight[:, 0], several.swapaxes(0, 1))


def window_errors(
    truth: NDArray[np.floating],
    forecasts: Sequence[NDArray[np.floating]],
    weights: Array,
    statistics: Array | None = None,
) -> WindowErrors:
    """Errors of each window, lead time and variable.

    Args:
        truth: ``B L C H W`` in physical units, NaN where missing.
        forecasts: the same for each forecast that is compared.
        weights: ``H W``, of the cells.
        statistics: ``F B N L C``, of the scores (:meth:`stkit.evaluate.ledger.Ledger.add`); None: none are kept.
    """
    counted = shared_cells(truth, forecasts)
    cells = counted * weights
    total = cells.sum(axis=(3, 4))
    squared, absolute = np.full((2, len(forecasts), *total.shape), np.nan)
    for number, forecast in enumerate(forecasts):
        error = np.where(counted, forecast.astype(np.float64) - truth, 0.0)
        for mean, of_error in ((squared, np.square(error)), (absolute, np.abs(error))):
            np.divide((cells * of_error).sum(axis=(3, 4)), total, out=mean[number], where=total > 0)
    if statistics is None:
        statistics = np.empty((len(forecasts), len(truth), 0, *total.shape[1:]))
    return WindowErrors(squared, absolute, total, statistics)


@dataclass(frozen=True)
class ErrorsLayout:
    """What ``errors.nc`` holds besides the errors."""

    forecasts: tuple[str, ...]
    """``F`` names, ``model`` first."""
    variables: tuple[Variable, ...]
    starts: tuple[int, ...]
    """Number of each window's first frame in the record, or of its sequence."""
    times: Times | None
    """Time of each window's last known frame; None where there are no times."""
    input_steps: int
    horizon: int
    windows_hash: str
    lead_unit: str
    """One step in words."""
    share_steps: bool
    """Whether windows that start less than their length apart share time steps; sequences never do."""
    statistics: tuple[str, ...] = ()
    """``N`` names of scores: to which each of the statistics belongs."""


class ErrorsFile(WholeFile):
    """Writes ``errors.nc``, a few windows at a time."""

    def __init__(self, path: Path, layout: ErrorsLayout) -> None:
        self.layout = layout
        super().__init__(path)

    def write(self, first: int, errors: WindowErrors) -> None:
        """Write the errors of the windows ``first``, ``first + 1``, ..."""
        stop = first + len(errors.weight)
        with told_when_full(self.path):
            self._file.variables["squared_error"][:, first:stop] = errors.squared
            self._file.variables["absolute_error"][:, first:stop] = errors.absolute
            self._file.variables["weight"][first:stop] = errors.weight
            if self.layout.statistics:
                self._file.variables["statistics"][:, first:stop] = errors.statistics

    def _define(self) -> None:
        layout, file = self.layout, self._file
        file.attrs.update(
            {
                "title": "errors of each window of the test part",
                "format": FORMAT,
                "windows_hash": layout.windows_hash,
                "input_steps": layout.input_steps,
                "horizon": layout.horizon,
                "lead_unit": layout.lead_unit,
                "windows_share_steps": int(layout.share_steps),
            }
        )
        file.dimensions = {
            "forecast": len(layout.forecasts),
            "start": len(layout.starts),
            "lead_time": layout.horizon,
            "variable": len(layout.variables),
        }
        self._words("forecast", "forecast", layout.forecasts)
        self._words("variable", "variable", [variable.name for variable in layout.variables])
        self._words("units", "variable", [variable.units for variable in layout.variables])
        file.create_variable("start", ("start",), np.int64, data=np.array(layout.starts, dtype=np.int64))
        lead = np.arange(1, layout.horizon + 1, dtype=np.int32)
        file.create_variable("lead_time", ("lead_time",), np.int32, data=lead).attrs["units"] = "1"
        if layout.times is not None:
            units, values = encode(layout.times)
            time = file.create_variable("start_time", ("start",), np.int64, data=values)
            time.attrs.update({"units": units, "calendar": "standard", "long_name": "time of the last known frame"})
        for name, words in (
            ("squared_error", "mean squared error over the counted cells, in squared units of the variable"),
            ("absolute_error", "mean absolute error over the counted cells, in units of the variable"),
        ):
            error = file.create_variable(name, ("forecast", "start", "lead_time", "variable"), np.float64)
            error.attrs["long_name"] = words
        weight = file.create_variable("weight", ("start", "lead_time", "variable"), np.float64)
        weight.attrs["long_name"] = "sum of the weights of the counted cells"
        if layout.statistics:
            file.dimensions["statistic"] = len(layout.statistics)
            self._words("statistic_of", "statistic", layout.statistics)
            dimensions = ("forecast", "start", "statistic", "lead_time", "variable")
            made_of = file.create_variable("statistics", dimensions, np.float64)
            made_of.attrs["long_name"] = "what the scores are made of: added over windows they give a score of these"

    def _words(self, name: str, dimension: str, words: Sequence[str]) -> None:
        import h5py  # type: ignore[import-untyped]

        kind = h5py.string_dtype(encoding="utf-8")
        self._file.create_variable(name, (dimension,), kind, data=np.array(list(words), dtype=object))


@dataclass(frozen=True)
class RunErrors:
    """``errors.nc`` of one run."""

    layout: ErrorsLayout
    errors: WindowErrors

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return len(self.layout.starts)

    def statistics(self, score: str) -> Array | None:
        """``F B S L C``: what a score is made of in each window; None where that was not kept."""
        own = np.array([name == score for name in self.layout.statistics], dtype=np.bool_)
        return self.errors.statistics[:, :, own] if own.any() else None


def read_errors(path: Path) -> RunErrors:
    """Read ``errors.nc``.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    if not path.exists():
        raise UsageError(f"{path}: there are no errors by window yet; `stkit eval {path.parent}` writes them")
    try:
        with h5netcdf.File(path, "r", decode_vlen_strings=True) as file:
            if int(file.attrs["format"]) != FORMAT:
                raise ValueError(f"its format is {file.attrs['format']}, expected {FORMAT}")
            layout = _layout(file)
            squared, absolute, weight = (_array(file, name) for name in _FIELDS)
            sums = np.empty((*squared.shape[:2], 0, *squared.shape[2:]))
            if layout.statistics:
                sums = _array(file, "statistics")
            return RunErrors(layout, WindowErrors(squared, absolute, weight, sums))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); `stkit eval {path.parent}` writes it again") from error


_FIELDS = ("squared_error", "absolute_error", "weight")


def _layout(file: Any) -> ErrorsLayout:
    units: Mapping[str, str] = dict(zip(_strings(file, "variable"), _strings(file, "units"), strict=True))
    times = None
    if "start_time" in file.variables:
        unit, _, since = str(file.variables["start_time"].attrs["units"]).partition(" since ")
        step = {"days": np.timedelta64(1, "D"), "seconds": np.timedelta64(1, "s")}[unit]
        origin = np.datetime64(since.replace(" ", "T"))
        times = (origin + _array(file, "start_time") * step).astype("datetime64[ns]")
    return ErrorsLayout(
        forecasts=tuple(_strings(file, "forecast")),
        variables=tuple(Variable(name, unit) for name, unit in units.items()),
        starts=tuple(int(start) for start in _array(file, "start")),
        times=times,
        input_steps=int(file.attrs["input_steps"]),
        horizon=int(file.attrs["horizon"]),
        windows_hash=str(file.attrs["windows_hash"]),
        lead_unit=str(file.attrs["lead_unit"]),
        share_steps=bool(file.attrs["windows_share_steps"]),
        statistics=tuple(_strings(file, "statistic_of")) if "statistic_of" in file.variables else (),
    )


def _strings(file: Any, name: str) -> list[str]:
    return [str(word) for word in file.variables[name][...]]


def _array(file: Any, name: str) -> Any:
    return np.asarray(file.variables[name][...])
