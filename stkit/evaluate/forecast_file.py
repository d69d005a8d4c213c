"""Forecasts in a file, written batch by batch: CF NetCDF, or Zarr where the name ends in ``.zarr``."""

from __future__ import annotations

import importlib.util
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.errors import UsageError
from stkit.evaluate.forecast_layout import FILL, Entry, Layout, entries, mean_name, spread_name
from stkit.evaluate.whole_file import WholeFile
from stkit.run.files import told_when_full

ZARR = ".zarr"
"""How the name of a Zarr store ends."""

_CONVENTIONS = "CF-1.8"


class ForecastFile(WholeFile):
    """Writes forecasts as NetCDF, a few windows at a time. A cell without a value holds ``_FillValue``.

    Example:
        >>> with ForecastFile(path, layout, {"title": "..."}) as file:
        ...     file.write(0, fields)  # B L C H W
    """

    def __init__(self, path: Path, layout: Layout, attributes: Mapping[str, str]) -> None:
        self.layout = layout
        self.attributes = {"Conventions": _CONVENTIONS, **{name: text for name, text in attributes.items() if text}}
        super().__init__(path)

    def write(self, first: int, fields: NDArray[np.floating], lead: int = 0) -> None:
        """Write the forecasts ``first``, ``first + 1``, ... with NaN where there is no value.

        Args:
            first: number of the first of them.
            fields: ``B L C H W``; ``M B L C H W`` where the layout has members. All lead times, or some of them.
            lead: number of the first lead time that they are of, from 0.
        """
        layout = self.layout
        for channel, variable in enumerate(layout.variables):
            said = fields[..., channel, :, :]
            if layout.members is None:
                self._put(variable.name, first, said, lead)
                continue
            self._put(variable.name, first, said.swapaxes(0, 1), lead)
            if layout.statistics:
                exact = said.astype(np.float64)
                self._put(mean_name(variable), first, exact.mean(0), lead)
                self._put(spread_name(variable), first, exact.std(0, ddof=1), lead)

    def _put(self, name: str, first: int, said: NDArray[np.floating], lead: int) -> None:
        """``B .. L H W`` in the place of the windows from ``first`` on and the lead times from ``lead`` on."""
        leads = slice(lead, lead + said.shape[-3])
        where: tuple[slice, ...] = (slice(first, first + len(said)), *[slice(None)] * (said.ndim - 4), leads)
        if self.layout.by_valid_time:
            where, said = (leads,), np.moveaxis(said[0], -3, 0)
        with told_when_full(self.path):
            self._variable(name)[where] = self._filled(said)

    def _define(self) -> None:
        self._begin()
        for entry in entries(self.layout):
            self._create(entry, tuple(self.layout.sizes[dim] for dim in entry.dims))

    def _chunks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One field."""
        return (*(1,) * (len(shape) - 2), *shape[-2:])

    def _begin(self) -> None:
        self._file.attrs.update(self.attributes)
        self._file.dimensions = self.layout.sizes

    def _create(self, entry: Entry, shape: tuple[int, ...]) -> None:
        if entry.values is not None:
            variable = self._file.create_variable(entry.name, entry.dims, entry.dtype, data=entry.values)
        else:
            variable = self._file.create_variable(
                entry.name,
                entry.dims,
                entry.dtype,
                fillvalue=FILL,
                chunks=self._chunks(shape),
                compression="gzip",
                compression_opts=4,
                shuffle=True,
            )
        variable.attrs.update(entry.attributes)

    def _variable(self, name: str) -> Any:
        return self._file.variables[name]

    def _filled(self, said: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.where(np.isfinite(said), said, FILL).astype(np.float32)


class ForecastStore(ForecastFile):
    """The same as a Zarr store (format 2 with consolidated metadata, which every reader of Zarr knows). NaN is missing.

    Raises:
        UsageError: zarr is not installed.
    """

    def __init__(self, path: Path, layout: Layout, attributes: Mapping[str, str]) -> None:
        if importlib.util.find_spec("zarr") is None:
            raise UsageError(f"-o {path}: writing Zarr needs zarr: pip install 'stkit-torch[zarr]', or name a .nc file")
        super().__init__(path, layout, attributes)

    def _open(self, path: Path) -> Any:
        import zarr

        return zarr.open_group(path, mode="w", zarr_format=2)

    def _begin(self) -> None:
        self._file.attrs.update(self.attributes)

    def _create(self, entry: Entry, shape: tuple[int, ...]) -> None:
        attributes = {name: _plain(value) for name, value in entry.attributes.items()}
        array = self._file.create_array(
            entry.name,
            shape=shape,
            chunks=(shape if entry.values is not None else self._chunks(shape)) or "auto",
            dtype=np.dtype(entry.dtype),
            fill_value=np.float32(np.nan) if entry.values is None else None,
            attributes={"_ARRAY_DIMENSIONS": list(entry.dims), **attributes},
        )
        if entry.values is not None:
            array[...] = entry.values

    def _variable(self, name: str) -> Any:
        return self._file[name]

    def _filled(self, said: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.where(np.isfinite(said), said, np.nan).astype(np.float32)

    def _close(self) -> None:
        import zarr

        zarr.consolidate_metadata(self._file.store, zarr_format=2)

    def _take_name(self) -> None:
        replaced = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.old")
        there = self.path.exists()
        if there:
            self.path.rename(replaced)
        self._temporary.rename(self.path)
        if there:
            shutil.rmtree(replaced, ignore_errors=True)

    def _remove(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)


def forecast_file(path: Path, layout: Layout, attributes: Mapping[str, str]) -> ForecastFile:
    """The writer of the format that a name's end says.

    Raises:
        UsageError: zarr is not installed.
    """
    return (ForecastStore if path.suffix == ZARR else ForecastFile)(path, layout, attributes)


def _plain(value: Any) -> Any:
    """An attribute as JSON has it."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
