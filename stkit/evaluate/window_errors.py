"""The error of each window by itself: what comparisons of runs are made from.

``errors.nc`` of a run has the dimensions ``forecast`` (the model and its baselines), ``start`` (the windows of the test
part), ``lead_time`` and ``variable``. ``squared_error`` and ``absolute_error`` are means over the cells of a window's
frame that count for every forecast, weighted by the cosine of latitude where there is one; ``weight`` is the sum of
those weights. So ``sum(weight * squared_error) / sum(weight)`` over the windows is the mean squared error of the run.

Axes: ``F`` forecasts, ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
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

    def by_window(self) -> Array:
        """All in one array ``B 2F+1 L C``, for gathering the windows of several processes."""
        return np.concatenate([self.squared.swapaxes(0, 1), self.absolute.swapaxes(0, 1), self.weight[:, None]], axis=1)

    @classmethod
    def of(cls, by_window: Array) -> WindowErrors:
        """The inverse of :meth:`by_window`."""
        forecasts = by_window.shape[1] // 2
        both = by_window[:, :-1].swapaxes(0, 1)
        return cls(both[:forecasts], both[forecasts:], by_window[:, -1])


def window_errors(
    truth: NDArray[np.floating], forecasts: Sequence[NDArray[np.floating]], weights: Array
) -> WindowErrors:
    """Errors of each window, lead time and variable.

    Args:
        truth: ``B L C H W`` in physical units, NaN where missing.
        forecasts: the same for each forecast that is compared.
        weights: ``H W``, of the cells.
    """
    counted = shared_cells(truth, forecasts)
    cells = counted * weights
    total = cells.sum(axis=(3, 4))
    squared, absolute = np.full((2, len(forecasts), *total.shape), np.nan)
    for number, forecast in enumerate(forecasts):
        error = np.where(counted, forecast.astype(np.float64) - truth, 0.0)
        for mean, of_error in ((squared, np.square(error)), (absolute, np.abs(error))):
            np.divide((cells * of_error).sum(axis=(3, 4)), total, out=mean[number], where=total > 0)
    return WindowErrors(squared, absolute, total)


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
            return RunErrors(_layout(file), WindowErrors(*(_array(file, name) for name in _FIELDS)))
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
    )


def _strings(file: Any, name: str) -> list[str]:
    return [str(word) for word in file.variables[name][...]]


def _array(file: Any, name: str) -> Any:
    return np.asarray(file.variables[name][...])
