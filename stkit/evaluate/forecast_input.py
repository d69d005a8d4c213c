"""Forecasts that lie in a file, as ``stkit predict`` writes them, for the windows of a test part.

Axes: ``M`` members, ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stkit.data.prepare import PreparedData
from stkit.data.source import FieldSource
from stkit.errors import DataError, UsageError
from stkit.evaluate.batches import Batch
from stkit.evaluate.forecast_file import ZARR
from stkit.evaluate.forecast_layout import lead_unit
from stkit.evaluate.score_windows import Said

if TYPE_CHECKING:
    import xarray as xr


class ForecastInput:
    """A file with a forecast, or an ensemble of them, from every start of a test part.

    Args:
        path: NetCDF, or Zarr where the name ends in ``.zarr``; opened and read a few windows at a time.
        data: whose test part.

    Raises:
        UsageError: it cannot be opened.
        DataError: it lacks a variable, a start or a lead time of the test part, or lies on another grid.
    """

    def __init__(self, path: Path, data: PreparedData) -> None:
        import xarray as xr

        try:
            engine = "zarr" if path.suffix == ZARR else "h5netcdf"
            self._file: xr.Dataset = xr.open_dataset(path, engine=engine, decode_timedelta=False)
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{path}: cannot be read as a file of forecasts ({error})") from error
        self._data = data
        self._horizon = data.config.horizon
        self._check_fields(path)
        self._check_leads(path)
        self._places = self._starts(path)

    @property
    def members(self) -> int:
        """How many there are; 1 for a single forecast."""
        return int(self._file.sizes.get("realization", 1))

    def forecast(self, _batch: Batch, windows: range) -> Said:
        """What the file says of some windows of the test part, by their numbers."""
        said = np.stack([self._of(variable.name, windows) for variable in self._data.tested.variables], axis=3)
        return Said(said.mean(axis=0, dtype=np.float32), said) if len(said) > 1 else Said(said[0])

    def _of(self, variable: str, windows: range) -> NDArray[np.float32]:
        """``M B L H W`` of one variable."""
        chosen = self._file[variable].isel(time=self._places[list(windows)], lead_time=slice(self._horizon))
        if "realization" not in chosen.dims:
            chosen = chosen.expand_dims("realization")
        rows, columns = (name for name in self._file[variable].dims if name not in _OWN)
        return np.asarray(chosen.transpose("realization", "time", "lead_time", rows, columns).values, dtype=np.float32)

    def _check_fields(self, path: Path) -> None:
        source = self._data.tested
        for variable in source.variables:
            if variable.name not in self._file:
                raise DataError(
                    f"{path}: has no forecast of {variable.name}; it holds {', '.join(map(str, self._file))}"
                )
            found = self._file[variable.name]
            shape = tuple(size for name, size in found.sizes.items() if name not in _OWN)
            if not {"time", "lead_time"} <= set(found.dims) or len(shape) != 2:
                raise DataError(
                    f"{path}: {variable.name} has the dimensions {', '.join(map(str, found.dims))}; expected time, "
                    "lead_time, two of the grid and, of an ensemble, realization, as `stkit predict` writes without "
                    "--by-valid-time"
                )
            if shape != source.grid.shape:
                raise DataError(f"{path}: {shape[0]} x {shape[1]} cells, but {source.name} has {source.grid.shape}")
            if str(found.attrs.get("units", variable.units)) != variable.units:
                raise DataError(
                    f"{path}: {variable.name} in {found.attrs['units']!r}, but {source.name} has {variable.units!r}"
                )

    def _check_leads(self, path: Path) -> None:
        lead = self._file["lead_time"]
        tested = self._data.tested
        count, unit = lead_unit(tested.typical_step if isinstance(tested, FieldSource) else None)
        expected = count * np.arange(1, self._horizon + 1)
        if lead.attrs.get("units") != unit or not np.array_equal(lead.values[: self._horizon], expected):
            said = ", ".join(f"{value:g}" for value in lead.values[: self._horizon])
            raise DataError(
                f"{path}: lead times {said} {lead.attrs.get('units', '')}; the test part is scored at "
                f"{', '.join(map(str, expected))} {unit}"
            )

    def _starts(self, path: Path) -> NDArray[np.int64]:
        """Where in the file each window's start is."""
        times, test = self._data.tested.times, self._data.test
        if times is None:
            raise DataError(f"{path}: the test part has no times by which forecasts could be told apart")
        known = self._data.config.input_steps
        wanted = np.array([times[test.start(number) + known - 1] for number in range(len(test))])
        there = self._file["time"].values.astype("datetime64[ns]")
        order = np.argsort(there)
        place = np.searchsorted(there[order], wanted)
        found = (place < len(there)) & (there[order][np.minimum(place, len(there) - 1)] == wanted)
        if not found.all():
            first, last = (np.datetime_as_string(wanted[at], unit="m") for at in (0, -1))
            raise DataError(
                f"{path}: {int((~found).sum())} of the {len(wanted)} starts of the test part are not in it; "
                f"`stkit predict ... --start {first}..{last}` writes them"
            )
        return np.asarray(order[place], dtype=np.int64)


_OWN = frozenset({"time", "lead_time", "realization"})
"""Dimensions that are none of the grid's."""
