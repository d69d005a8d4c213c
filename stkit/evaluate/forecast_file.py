"""Forecasts as CF-1.8 NetCDF, written batch by batch.

Dimensions ``time`` (when the forecast starts: the time of its last known frame), ``lead_time``, and those of the grid.
``valid_time(time, lead_time)`` says for when each field is. Cells without a value hold ``_FillValue``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, is_monthly, is_yearly
from stkit.data.source import Axis, Grid, Variable
from stkit.evaluate.whole_file import WholeFile
from stkit.run.files import told_when_full

FILL = np.float32(9.969209968386869e36)
"""NetCDF's own default for float."""

_EPOCH = np.datetime64("1970-01-01T00:00:00", "ns")
_SECOND = np.timedelta64(1, "s")
_LEAD_UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))


@dataclass(frozen=True)
class Layout:
    """What a file of forecasts holds besides the fields."""

    variables: tuple[Variable, ...]
    grid: Grid
    windows: int
    """How many forecasts."""
    leads: int
    """Lead times of each."""
    step: np.timedelta64 | None
    """One time step; None where the record has no times."""
    starts: Times | None
    """``windows``: time of the last known frame; None where there are no times."""
    valid: Times | None
    """``windows leads``: times of the forecast frames."""
    numbers: Sequence[int] | None = None
    """``windows``: which sequence or step each starts from, where there are no times."""


class ForecastFile(WholeFile):
    """Writes forecasts, a few windows at a time.

    Example:
        >>> with ForecastFile(path, layout, {"title": "..."}) as file:
        ...     file.write(0, fields)  # B L C H W
    """

    def __init__(self, path: Path, layout: Layout, attributes: Mapping[str, str]) -> None:
        self.layout = layout
        self.attributes = attributes
        super().__init__(path)

    def write(self, first: int, fields: NDArray[np.floating]) -> None:
        """Write the forecasts ``first``, ``first + 1``, ... from ``B L C H W`` with NaN where there is no value."""
        filled = np.where(np.isfinite(fields), fields, FILL).astype(np.float32)
        with told_when_full(self.path):
            for channel, variable in enumerate(self.layout.variables):
                self._file.variables[variable.name][first : first + len(fields)] = filled[:, :, channel]

    def _define(self) -> None:
        layout, file = self.layout, self._file
        file.attrs["Conventions"] = "CF-1.8"
        for name, text in self.attributes.items():
            if text:
                file.attrs[name] = text
        start = "time" if layout.starts is not None else "window"
        rows, columns = _axis_name(layout.grid.y, "latitude", "y"), _axis_name(layout.grid.x, "longitude", "x")
        file.dimensions = {
            start: layout.windows,
            "lead_time": layout.leads,
            rows: layout.grid.height,
            columns: layout.grid.width,
        }
        self._define_start(start)
        self._define_lead()
        _define_axis(file, rows, layout.grid.y, "Y")
        _define_axis(file, columns, layout.grid.x, "X")
        coordinates = ["valid_time"] if layout.valid is not None else []
        for variable in layout.variables:
            shape = (1, 1, layout.grid.height, layout.grid.width)
            field = file.create_variable(
                variable.name,
                (start, "lead_time", rows, columns),
                np.float32,
                fillvalue=FILL,
                chunks=shape,
                compression="gzip",
                compression_opts=4,
                shuffle=True,
            )
            field.attrs["units"] = variable.units
            if variable.long_name:
                field.attrs["long_name"] = variable.long_name
            if variable.standard_name:
                field.attrs["standard_name"] = variable.standard_name
            if coordinates:
                field.attrs["coordinates"] = " ".join(coordinates)

    def _define_start(self, name: str) -> None:
        layout = self.layout
        if layout.starts is None:
            numbers = np.arange(layout.windows) if layout.numbers is None else np.asarray(layout.numbers)
            window = self._file.create_variable(name, (name,), np.int64, data=numbers.astype(np.int64))
            window.attrs.update({"units": "1", "long_name": "number of the window in the record"})
            return
        units, start = encode(layout.starts)
        time = self._file.create_variable(name, (name,), np.int64, data=start)
        time.attrs.update(
            {
                "standard_name": "forecast_reference_time",
                "long_name": "start of the forecast: time of the last known frame",
                "units": units,
                "calendar": "standard",
                "axis": "T",
            }
        )
        if layout.valid is not None:
            units, valid = encode(layout.valid)
            target = self._file.create_variable("valid_time", (name, "lead_time"), np.int64, data=valid)
            target.attrs.update(
                {
                    "standard_name": "time",
                    "long_name": "time for which the forecast is",
                    "units": units,
                    "calendar": "standard",
                }
            )

    def _define_lead(self) -> None:
        count, units = lead_unit(self.layout.step)
        lead = self._file.create_variable(
            "lead_time", ("lead_time",), np.int32, data=count * np.arange(1, self.layout.leads + 1, dtype=np.int32)
        )
        lead.attrs.update(
            {
                "standard_name": "forecast_period",
                "long_name": "time since the last known frame",
                "units": units,
            }
        )
        if units == "month":
            lead.attrs["comment"] = "calendar months; valid_time has the exact times"


def lead_unit(step: np.timedelta64 | None) -> tuple[int, str]:
    """One lead step as a whole number of a unit: ``(5, "minutes")``, ``(1, "month")``, ``(1, "1")`` without times."""
    if step is None:
        return 1, "1"
    if is_monthly(step):
        return 1, "month"
    if is_yearly(step):
        return 1, "year"
    seconds = round(float(step / _SECOND))
    return next((seconds // size, name) for name, size in _LEAD_UNITS if seconds % size == 0)


def encode(times: Times) -> tuple[str, NDArray[np.int64]]:
    """Whole days since 1970 where that is exact, else seconds."""
    seconds = (times.astype("datetime64[ns]") - _EPOCH) // _SECOND
    if (seconds % 86400 == 0).all():
        return "days since 1970-01-01 00:00:00", (seconds // 86400).astype(np.int64)
    return "seconds since 1970-01-01 00:00:00", seconds.astype(np.int64)


def _axis_name(axis: Axis, geographic: str, plain: str) -> str:
    if axis.standard_name == geographic:
        return geographic
    return axis.name or plain


def _define_axis(file: Any, name: str, axis: Axis, letter: str) -> None:
    if axis.values is None:
        return
    coordinate = file.create_variable(name, (name,), np.float64, data=axis.values)
    coordinate.attrs["axis"] = letter
    units = {"latitude": "degrees_north", "longitude": "degrees_east"}.get(axis.standard_name, axis.units)
    if units:
        coordinate.attrs["units"] = units
    if axis.standard_name:
        coordinate.attrs["standard_name"] = axis.standard_name
