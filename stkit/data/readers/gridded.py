"""WeatherBench and OISST: NetCDF in folders.

WeatherBench: Rasp, Dueben, Scher, Weyn, Mouatadid and Thuerey (2020), arXiv:2002.00469. OISST: Huang et al. (2021),
Improvements of the Daily Optimum Interpolation Sea Surface Temperature (DOISST) Version 2.1.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from stkit.data.calendar import as_text
from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.netcdf_file import open_file
from stkit.data.readers.config import OisstConfig, WeatherBenchConfig
from stkit.data.readers.layout import files_of, had_from, root_of
from stkit.data.source import Fields, FieldSource, Grid, Variable
from stkit.errors import DataError

_YEAR = re.compile(r"_(\d{4})_")


class Oisst:
    """The data set ``oisst``."""

    @classmethod
    def from_config(cls, config: OisstConfig) -> NetcdfSource:
        """One record of the daily files.

        Raises:
            DataError: if there are none, or a day is missing or twice (a file may be there as preliminary, too).
        """
        files = files_of(config.path, (".nc",), config)
        netcdf = NetcdfConfig(
            name="netcdf",
            path=tuple(map(str, files)),
            variables=config.variables,
            allow_gaps=config.allow_gaps,
            memory_mb=config.memory_mb,
        )
        return NetcdfSource(netcdf, name="oisst", citation="Huang et al. (2021), doi:10.1175/JCLI-D-20-0166.1")


class WeatherBench(FieldSource):
    """The data set ``weatherbench``: variables that lie in files of their own, at the same times and cells."""

    def __init__(self, config: WeatherBenchConfig) -> None:
        root = root_of(config.path, config)
        self._parts: list[NetcdfSource | _Constant] = []
        for name in config.variables:
            still = name.startswith("constants/")
            self._parts.append(_Constant(root, name, config) if still else _variable(root, name, config))
        records = [part for part in self._parts if isinstance(part, NetcdfSource)]
        if not records:
            raise DataError("weatherbench: only constants are named; name a variable that changes in time")
        first = records[0]
        for part in self._parts:
            difference = first.grid.difference(part.grid)
            if difference:
                raise DataError(f"{part.name}: its grid differs from that of {first.name}: {difference}")
        for other in records[1:]:
            _check_same_times(first, other)
        self.name, self.grid, self.times, self.steps = "weatherbench", first.grid, first.times, first.steps
        self.variables = tuple(part.variables[0] for part in self._parts)
        self.citation = "Rasp et al. (2020), arXiv:2002.00469"

    @classmethod
    def from_config(cls, config: WeatherBenchConfig) -> WeatherBench:
        """Open the files of each variable."""
        return cls(config)

    @property
    def block_steps(self) -> int:
        """That of the first variable."""
        return max(part.block_steps for part in self._parts if isinstance(part, NetcdfSource))

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.source.FieldSource.read`."""
        return np.concatenate([part.read(start, stop) for part in self._parts], axis=1)


class _Constant:
    """A variable of ``constants``, the same at all times."""

    def __init__(self, root: Path, name: str, config: WeatherBenchConfig) -> None:
        variable = name.partition("/")[2]
        path = files_of(str(root / "constants"), (".nc",), config)[0]
        self.name = path.name
        with open_file(path) as dataset:
            if variable not in dataset.data_vars:
                raise DataError(f"{path}: no variable {variable!r}; it has {', '.join(map(str, dataset.data_vars))}")
            array = dataset[variable].squeeze()
            if array.ndim != 2:
                dims = ", ".join(map(str, array.dims))
                raise DataError(f"{path}: {variable!r} lies on {dims}, not on rows and columns")
            self._field: Fields = np.asarray(array.values, dtype=np.float32)
            self.variables = (Variable(variable, str(array.attrs.get("units", "1"))),)
        self.grid = Grid(*self._field.shape)

    def read(self, start: int, stop: int) -> Fields:
        return np.broadcast_to(self._field, (stop - start, 1, *self._field.shape))


def _variable(root: Path, name: str, config: WeatherBenchConfig) -> NetcdfSource:
    folder, _, level = name.partition("@")
    if not (root / folder).is_dir():
        there = ", ".join(sorted(entry.name for entry in root.iterdir() if entry.is_dir())) or "none"
        raise DataError(f"{root}: no folder {folder!r}; it has {there}. {had_from(config)}")
    files = files_of(str(root / folder), (".nc",), config)
    if config.years is not None:
        first, last = (int(year) for year in config.years.split(".."))
        files = [path for path in files if (year := _YEAR.search(path.name)) and first <= int(year[1]) <= last]
        if not files:
            raise DataError(f"{root / folder}: no file of the years {config.years}")
    netcdf = NetcdfConfig(
        name="netcdf",
        path=tuple(map(str, files)),
        select={"level": int(level)} if level else {},
        memory_mb=config.memory_mb,
    )
    source = NetcdfSource(netcdf, name=folder)
    source.variables = (source.variables[0]._replace(name=name.replace("@", "_")),)
    return source


def _check_same_times(first: NetcdfSource, other: NetcdfSource) -> None:
    one, two = first.times, other.times
    if one is None or two is None or not np.array_equal(one, two):
        told = [
            "no times" if times is None else f"{as_text(times[0])} to {as_text(times[-1])} ({times.size} steps)"
            for times in (one, two)
        ]
        raise DataError(f"weatherbench: {other.name} has {told[1]}, but {first.name} has {told[0]}")
