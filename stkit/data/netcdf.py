"""Fields from NetCDF files, read with xarray."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, as_text, check_times
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.netcdf_file import FilePart, examine, find_files, one_line, open_file, places_of
from stkit.data.source import Fields, FieldSource, Places, masked, without_fill
from stkit.data.units import same_units
from stkit.errors import DataError

_MOST_OPEN_FILES = 32


class NetcdfSource(FieldSource):
    """One record of fields from one or several NetCDF files.

    Several files must have the same variables and grid; they are put in order of their times. Nothing is read until it
    is asked for; a small record is then kept in memory.

    Args:
        config: which files, variables and dimensions.
        name: what messages call the data; the files' name by default.
        licence: terms of the data; by default what the file's attributes say.
        citation: how to cite the data; by default what the file's attributes say.

    Raises:
        DataError: if a file, variable or dimension is missing or not as expected, with what is there.
    """

    def __init__(self, config: NetcdfConfig, *, name: str = "", licence: str = "", citation: str = "") -> None:
        self.config = config
        self.paths = self._find()
        self.name = name or self._called()
        parts = [self._examined(path) for path in self.paths]
        places = self._places(self.paths[0])
        first = parts[0]
        for part in parts[1:]:
            _check_same(first, part)
        if all(part.times is not None for part in parts):
            parts.sort(key=lambda part: part.times[0])  # type: ignore[index]
        self._parts = parts
        self._ends = np.cumsum([part.steps for part in parts])
        self.variables = tuple(channel.variable for channel in first.channels)
        self.grid = replace(first.grid, places=places)
        self.steps = int(self._ends[-1])
        self.times = _joined_times(parts, config.allow_gaps)
        self.licence = licence or first.licence
        self.citation = citation or first.citation
        self._mask = first.mask
        self._kept: Fields | None = None
        self._open: dict[Path | str, Any] = {}
        self._process = os.getpid()

    @classmethod
    def from_config(cls, config: NetcdfConfig) -> NetcdfSource:
        """Open what a recipe names."""
        return cls(config)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """The mask variable that the configuration names."""
        return self._mask

    def _find(self) -> list[Path | str]:
        """What the configuration's path means."""
        return list(find_files(self.config.path))

    def _open_dataset(self, path: Path | str) -> Any:
        """One of them as a lazy ``xarray.Dataset``."""
        return open_file(Path(path))

    def _called(self) -> str:
        return Path(self.paths[0]).name if len(self.paths) == 1 else f"{len(self.paths)} files"

    def _examined(self, path: Path | str) -> FilePart:
        dataset = self._open_dataset(path)
        try:
            return examine(dataset, path, self.config)
        finally:
            dataset.close()

    def _places(self, path: Path | str) -> Places | None:
        dataset = self._open_dataset(path)
        try:
            return places_of(dataset, path, self.config)
        finally:
            dataset.close()

    @property
    def block_steps(self) -> int:
        """That of the first file: the length in time of the chunks that it is stored in."""
        return self._parts[0].block_steps

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.source.FieldSource.read`."""
        return masked(self.read_variables(start, stop, range(len(self.variables))), self.moving_mask(start, stop))

    def read_variables(self, start: int, stop: int, channels: Sequence[int]) -> Fields:
        """See :meth:`stkit.data.source.FieldSource.read_variables`."""
        every = list(range(len(self.variables)))
        if self._kept is None:
            size = 4 * self.steps * len(every) * self.grid.height * self.grid.width
            if size > self.config.memory_mb * 2**20:
                return self._read_files(start, stop, channels)
            self._kept = self._read_files(0, self.steps, every)
            self._close()
        kept = self._kept[start:stop]
        return kept if list(channels) == every else kept[:, list(channels)]

    def moving_mask(self, start: int, stop: int) -> NDArray[np.bool_] | None:
        """See :meth:`stkit.data.source.FieldSource.moving_mask`."""
        if all(part.moving_mask is None for part in self._parts):
            return None
        out = np.ones((stop - start, *self.grid.shape), dtype=bool)
        for part, dataset, steps, into in self._in_files(start, stop):
            if part.moving_mask is not None:
                counts = _values(dataset[part.moving_mask], part, steps, part.moving_mask).astype(np.float64)
                out[into] = np.isfinite(counts) & (counts != 0)
        return out

    def _read_files(self, start: int, stop: int, channels: Sequence[int]) -> Fields:
        out = np.empty((stop - start, len(channels), *self.grid.shape), dtype=np.float32)
        for part, dataset, steps, into in self._in_files(start, stop):
            for index, number in enumerate(channels):
                channel = part.channels[number]
                out[into, index] = _values(dataset[channel.source].isel(channel.where), part, steps, channel.source)
        for value in self.config.missing_values:
            out[out == np.float32(value)] = np.nan
        return without_fill(out, self.name)

    def _in_files(self, start: int, stop: int) -> Iterator[tuple[FilePart, Any, slice, slice]]:
        """The files with these steps: each open, with the steps inside it and where they belong in what is read."""
        for part, end in zip(self._parts, self._ends, strict=True):
            begin = int(end) - part.steps
            first, last = max(start, begin), min(stop, int(end))
            if first < last:
                yield (
                    part,
                    self._dataset(part.path),
                    slice(first - begin, last - begin),
                    slice(first - start, last - start),
                )

    def _dataset(self, path: Path | str) -> Any:
        if self._process != os.getpid():  # an HDF5 handle does not survive a fork
            self._open, self._process = {}, os.getpid()
        if path not in self._open:
            if len(self._open) >= _MOST_OPEN_FILES:
                self._close()
            self._open[path] = self._open_dataset(path)
        return self._open[path]

    def _close(self) -> None:
        for dataset in self._open.values():
            dataset.close()
        self._open = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}, "_kept": None}

    def __del__(self) -> None:
        if getattr(self, "_process", None) == os.getpid():
            self._close()


def _values(array: Any, part: FilePart, steps: slice, name: str) -> NDArray[Any]:
    """Some steps of a variable, ``T H W``, or ``1 H W`` where it has no time."""
    time, *across = part.dims
    still = time not in array.dims
    try:
        ordered = array.transpose(*across) if still else array.isel({time: steps}).transpose(*part.dims)
        values: NDArray[Any] = ordered.values
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{part.path}: cannot read {name!r}; the file may be cut short ({one_line(error)})") from error
    return values[None] if still else values


def _check_same(first: FilePart, other: FilePart) -> None:
    difference = first.grid.difference(other.grid)
    if difference:
        raise DataError(f"{other.path}: its grid differs from that of {first.path}: {difference}")
    mine = [channel.variable for channel in first.channels]
    theirs = [channel.variable for channel in other.channels]
    for one, two in zip(mine, theirs, strict=False):
        if one.name != two.name or not same_units(one.units, two.units):
            raise DataError(
                f"{other.path}: {two.name!r} is in {two.units!r}, but in {first.path} {one.name!r} is in {one.units!r}"
            )
    if len(mine) != len(theirs):
        raise DataError(f"{other.path}: {len(theirs)} variables, but {first.path} has {len(mine)}")
    if (first.times is None) != (other.times is None):
        lacking, having = (first, other) if first.times is None else (other, first)
        raise DataError(f"{lacking.path}: has no times, but {having.path} has")


def _joined_times(parts: Sequence[FilePart], allow_gaps: bool) -> Times | None:
    found = [part.times for part in parts if part.times is not None]
    if len(found) < len(parts):
        return None
    for before, after in itertools.pairwise(parts):
        assert before.times is not None
        assert after.times is not None
        if after.times[0] <= before.times[-1]:
            raise DataError(
                f"{after.path}: starts at {as_text(after.times[0])}, but {before.path} ends at "
                f"{as_text(before.times[-1])}: files must follow each other in time"
            )
    times = np.concatenate(found)
    check_times(times, f"{parts[0].path} and the files after it" if len(parts) > 1 else str(parts[0].path), allow_gaps)
    return times
