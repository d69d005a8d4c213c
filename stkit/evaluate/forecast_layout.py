"""What a file of forecasts holds, by the CF conventions, whatever the format it is written in.

Dimensions ``time`` (when the forecast starts: the time of its last known frame), ``lead_time``, and those of the grid;
for an ensemble ``realization`` after the time. ``valid_time(time, lead_time)`` says for when each field is. By valid
time, which takes a single start, ``time`` is the time for which each field is, as programs for maps expect it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, is_monthly, is_yearly
from stkit.data.source import Axis, Grid, Variable

FILL = np.float32(9.969209968386869e36)
"""NetCDF's own default for float."""

_EPOCH = np.datetime64("1970-01-01T00:00:00", "ns")
_SECOND = np.timedelta64(1, "s")
_PLACES = (("latitude", "degrees_north"), ("longitude", "degrees_east"))
_LEAD_UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))


class Member(NamedTuple):
    """One member of an ensemble."""

    words: str
    """Which run it is of."""
    lag: int
    """Steps that its last known frame lies before the start."""


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
    members: tuple[Member, ...] | None = None
    """Of an ensemble; None: a single forecast, without a dimension for members."""
    statistics: bool = False
    """Whether the mean and the spread of the members are there, too."""
    by_valid_time: bool = False
    """Whether ``time`` is the time for which a field is, and not the start: for one start, on a record with times."""

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions of a field but for that of the members."""
        rows, columns = self.axes
        return ("time", rows, columns) if self.by_valid_time else (self.start, "lead_time", rows, columns)

    @property
    def member_dims(self) -> tuple[str, ...]:
        """Those with that of the members: CDO reads fields whose first dimension is the time."""
        return (self.dims[0], "realization", *self.dims[1:])

    @property
    def start(self) -> str:
        """The dimension of the starts."""
        return "time" if self.starts is not None else "window"

    @property
    def axes(self) -> tuple[str, str]:
        """The dimensions of the grid."""
        grid = self.grid
        return _axis_name(grid.y, "latitude", "y"), _axis_name(grid.x, "longitude", "x")

    @property
    def sizes(self) -> dict[str, int]:
        """Each dimension's size."""
        members = {} if self.members is None else {"realization": len(self.members)}
        across = {"time": self.leads} if self.by_valid_time else {self.start: self.windows, "lead_time": self.leads}
        return {**members, **across, **dict(zip(self.axes, self.grid.shape, strict=True))}


class Entry(NamedTuple):
    """A variable of the file."""

    name: str
    dims: tuple[str, ...]
    dtype: type[np.generic]
    attributes: Mapping[str, Any]
    values: NDArray[Any] | None = None
    """None: written later."""


def entries(layout: Layout) -> list[Entry]:
    """Every variable, coordinates first. Times are doubles: CF 1.8 knows no integers of 64 bits."""
    return [*_starts(layout), *_members(layout), *horizontal(layout), *_fields(layout)]


def mean_name(variable: Variable) -> str:
    """Of the variable that holds the members' mean."""
    return f"{variable.name}_mean"


def spread_name(variable: Variable) -> str:
    """Of the variable that holds the members' standard deviation."""
    return f"{variable.name}_spread"


def _starts(layout: Layout) -> list[Entry]:
    if layout.starts is None:
        numbers = np.arange(layout.windows) if layout.numbers is None else np.asarray(layout.numbers)
        told = {"units": "1", "long_name": "number of the window in the record"}
        return [Entry("window", ("window",), np.int32, told, numbers.astype(np.int32)), _lead(layout, "lead_time")]
    units, start = encode(layout.starts)
    reference = {
        "standard_name": "forecast_reference_time",
        "long_name": "start of the forecast: time of the last known frame",
        "units": units,
        "calendar": "standard",
    }
    if layout.valid is None:
        return [
            Entry("time", ("time",), np.float64, {**reference, "axis": "T"}, start.astype(np.float64)),
            _lead(layout, "lead_time"),
        ]
    units, valid = encode(layout.valid)
    target = {
        "standard_name": "time",
        "long_name": "time for which the forecast is",
        "units": units,
        "calendar": "standard",
    }
    if layout.by_valid_time:
        return [
            Entry("time", ("time",), np.float64, {**target, "axis": "T"}, valid[0].astype(np.float64)),
            Entry("forecast_reference_time", (), np.float64, reference, np.asarray(start[0], dtype=np.float64)),
            _lead(layout, "time"),
        ]
    return [
        Entry("time", ("time",), np.float64, {**reference, "axis": "T"}, start.astype(np.float64)),
        Entry("valid_time", ("time", "lead_time"), np.float64, target, valid.astype(np.float64)),
        _lead(layout, "lead_time"),
    ]


def _lead(layout: Layout, dim: str) -> Entry:
    count, units = lead_unit(layout.step)
    told = {"standard_name": "forecast_period", "long_name": "time since the last known frame", "units": units}
    if units == "month":
        told["comment"] = "calendar months; the times for which the fields are have the exact times"
    return Entry("lead_time", (dim,), np.int32, told, count * np.arange(1, layout.leads + 1, dtype=np.int32))


def _members(layout: Layout) -> list[Entry]:
    if layout.members is None:
        return []
    words = "; ".join(f"{number}: {member.words}" for number, member in enumerate(layout.members))
    told = {"standard_name": "realization", "long_name": "member of the ensemble", "units": "1", "comment": words}
    number = np.arange(len(layout.members), dtype=np.int32)
    found = [Entry("realization", ("realization",), np.int32, told, number)]
    if any(member.lag for member in layout.members):
        lags = np.array([member.lag for member in layout.members], dtype=np.int32)
        lagged = {"long_name": "time steps from the member's last known frame to the start", "units": "1"}
        found.append(Entry("member_lag", ("realization",), np.int32, lagged, lags))
    return found


def horizontal(layout: Layout) -> list[Entry]:
    """The coordinates of the grid, and its projection where there is one."""
    grid, (rows, columns) = layout.grid, layout.axes
    found = [_axis(rows, grid.y, "Y"), _axis(columns, grid.x, "X")]
    if grid.mapping is not None:
        found.append(Entry(grid.mapping.name, (), np.int32, grid.mapping.attributes, np.array(0, dtype=np.int32)))
    if grid.places is not None:
        for (name, units), values in zip(_PLACES, grid.places, strict=True):
            told = {"standard_name": name, "units": units}
            found.append(Entry(name, (rows, columns), values.dtype.type, told, values))
    return [entry for entry in found if entry is not None]


def _fields(layout: Layout) -> list[Entry]:
    coordinates: list[str] = []
    if layout.by_valid_time:
        coordinates = ["lead_time", "forecast_reference_time"]
    elif layout.valid is not None:
        coordinates = ["valid_time"]
    if layout.grid.places is not None:
        coordinates += [name for name, _ in _PLACES]
    shared = {} if layout.grid.mapping is None else {"grid_mapping": layout.grid.mapping.name}
    found = []
    for variable in layout.variables:
        told = {"units": variable.units, "long_name": variable.long_name, "standard_name": variable.standard_name}
        told = {name: text for name, text in told.items() if text}
        around = {**shared, **({"coordinates": " ".join(coordinates)} if coordinates else {})}
        if layout.members is None:
            found.append(Entry(variable.name, layout.dims, np.float32, {**told, **around}))
            continue
        lag = [*coordinates, "member_lag"] if any(member.lag for member in layout.members) else coordinates
        of_members = {**shared, **({"coordinates": " ".join(lag)} if lag else {})}
        found.append(Entry(variable.name, layout.member_dims, np.float32, {**told, **of_members}))
        if layout.statistics:
            name = variable.long_name or variable.name
            mean = {"long_name": f"{name}: mean of the members", "cell_methods": "realization: mean"}
            spread = {
                "long_name": f"{name}: standard deviation of the members (divided by their number less one)",
                "cell_methods": "realization: standard_deviation",
            }
            found += [
                Entry(mean_name(variable), layout.dims, np.float32, {**told, **mean, **around}),
                Entry(spread_name(variable), layout.dims, np.float32, {**told, **spread, **around}),
            ]
    return found


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


def _axis(name: str, axis: Axis, letter: str) -> Entry | None:
    if axis.values is None:
        return None
    units = {"latitude": "degrees_north", "longitude": "degrees_east"}.get(axis.standard_name, axis.units)
    told = {"axis": letter, "units": units, "standard_name": axis.standard_name}
    return Entry(name, (name,), np.float64, {name: text for name, text in told.items() if text}, axis.values)
