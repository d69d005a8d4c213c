"""What is in one NetCDF file: which variable, which dimension is which, and everything that can be wrong with it."""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.data import cf
from stkit.data.calendar import Times, check_times
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.projection import grid_mapping
from stkit.data.source import Axis, Grid, GridMapping, Places, Variable
from stkit.errors import DataError


@dataclass(frozen=True)
class Channel:
    """One variable of the fields: where it is in the file."""

    variable: Variable
    source: str
    where: dict[str, int]


@dataclass(frozen=True)
class FilePart:
    """One file as it was found."""

    path: Path | str
    channels: tuple[Channel, ...]
    dims: tuple[str, str, str]
    grid: Grid
    steps: int
    times: Times | None
    mask: NDArray[np.bool_] | None
    block_steps: int
    """Steps that are stored together."""
    moving_mask: str | None
    """The variable with a mask for each time."""
    licence: str
    citation: str


def find_files(path: str | Sequence[str]) -> list[Path]:
    """The files that a path, a pattern or a list of these means, each once, in order.

    Raises:
        DataError: if one of them means no file; similar names in the same folder are told.
    """
    found: dict[Path, None] = {}
    for pattern in [path] if isinstance(path, str) else path:
        expanded = os.path.expanduser(pattern)
        if os.path.isfile(expanded):
            found[Path(expanded)] = None
            continue
        matches = sorted(match for match in glob.glob(expanded, recursive=True) if os.path.isfile(match))
        if not matches:
            raise DataError(_absent(pattern, Path(expanded)))
        found.update({Path(match): None for match in matches})
    if not found:
        raise DataError("netcdf: 'path' names no file")
    return list(found)


def _absent(pattern: str, path: Path) -> str:
    if glob.has_magic(str(path)):
        return f"no file matches {pattern!r} (looked from {Path.cwd()})"
    if path.is_dir():
        return f"{pattern!r} is a folder; give a file, or a pattern such as {str(path / '*.nc')!r}"
    if not path.parent.is_dir():
        return f"no such file: {pattern!r} (there is no folder {str(path.parent)!r}; looked from {Path.cwd()})"
    beside = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    return f"no such file: {pattern!r} (looked from {Path.cwd()}){cf.nearest(path.name, beside)}"


def open_file(path: Path) -> Any:
    """Open a file as a lazy ``xarray.Dataset``.

    Raises:
        DataError: if it is not NetCDF, is cut short, or has a time that cannot be understood.
    """
    import xarray

    engine = _engine(path)
    try:
        return xarray.open_dataset(path, engine=engine, cache=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read as NetCDF; it may be cut short ({one_line(error)})") from error
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: cannot be read as NetCDF ({one_line(error)})") from error


def _engine(path: Path) -> str:
    """By the first bytes: HDF5 (NetCDF-4) or the classic format; anything else is no NetCDF file."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if head == b"\x89HDF\r\n\x1a\n":
        return "h5netcdf"
    if head[:4] in (b"CDF\x01", b"CDF\x02"):
        if importlib.util.find_spec("scipy") is None:
            raise DataError(f"{path}: reading the classic NetCDF format needs scipy: pip install scipy")
        return "scipy"
    raise DataError(f"{path}: not a NetCDF file (it starts with {head!r})" if head else f"{path}: the file is empty")


def examine(dataset: Any, path: Path | str, config: NetcdfConfig) -> FilePart:
    """Look at an open ``xarray.Dataset`` without reading its fields.

    Raises:
        DataError: if it does not have what the configuration asks for.
    """
    names = config.variables or (_only_variable(dataset, config, path),)
    for name in names:
        if name not in dataset.data_vars:
            known = [str(known) for known in dataset.data_vars]
            raise DataError(
                f"{path}: no variable {name!r}; it has {', '.join(known) or 'none'}{cf.nearest(name, known)}"
            )
    dims = _common_dims([(name, dataset[name]) for name in names], path, config)
    array = next(dataset[name] for name in names if dims[0] in dataset[name].dims)
    return FilePart(
        path=path,
        channels=tuple(
            channel
            for name in names
            for channel in _channels(dataset[name], dims, config, f"{path}: variable {name!r}")
        ),
        dims=dims,
        grid=Grid(
            array.sizes[dims[1]],
            array.sizes[dims[2]],
            _axis("y", array, dims[1], path),
            _axis("x", array, dims[2], path),
            _grid_mapping(dataset, array, dims),
        ),
        steps=array.sizes[dims[0]],
        times=_times(array, dims[0], path, config.allow_gaps),
        mask=_mask(dataset, dims, config.mask, path),
        block_steps=_block_steps(array, dims[0]),
        moving_mask=_moving_mask(dataset, dims, config.mask),
        licence=_attribute(dataset, "license", "licence"),
        citation=_attribute(dataset, "citation", "references"),
    )


def _only_variable(dataset: Any, config: NetcdfConfig, path: Path | str) -> str:
    """The one variable that has all three dimensions."""
    candidates = []
    for name, array in dataset.data_vars.items():
        where = f"{path}: variable {name!r}"
        given = config.dimensions
        wanted = {"time": given.time, "y": given.y, "x": given.x}
        if array.dtype.kind in "fiu" and all(
            (wanted[role] in array.dims if wanted[role] else cf.find(role, array, None, where))
            for role in ("time", "y", "x")
        ):
            candidates.append(str(name))
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(f"{path}: several variables are fields: {', '.join(candidates)}; name them in 'variables'")
    shapes = ", ".join(f"{name}({', '.join(map(str, array.dims))})" for name, array in dataset.data_vars.items())
    raise DataError(f"{path}: no variable has a time dimension, rows and columns; it has {shapes or 'no variables'}")


def _common_dims(arrays: Sequence[tuple[str, Any]], path: Path | str, config: NetcdfConfig) -> tuple[str, str, str]:
    """Time, rows and columns of all; beside a variable with a time another may have none."""
    found = [
        (name, _dims(array, config, f"{path}: variable {name!r}", still=len(arrays) > 1)) for name, array in arrays
    ]
    first = next(((name, dims) for name, dims in found if dims[0]), None)
    if first is None:
        names = ", ".join(name for name, _ in arrays)
        raise DataError(f"{path}: none of {names} has a time dimension, so none can be forecast")
    for name, dims in found:
        wanted = first[1] if dims[0] else first[1][1:]
        given = dims if dims[0] else dims[1:]
        if given != wanted:
            raise DataError(
                f"{path}: variable {name!r} lies on {', '.join(given)}, but {first[0]!r} on {', '.join(first[1])}"
            )
    return first[1]


def _dims(array: Any, config: NetcdfConfig, where: str, *, still: bool) -> tuple[str, str, str]:
    """Time, rows and columns; where that is allowed, time is empty of a variable with rows and columns only."""
    given = config.dimensions
    still = still and array.ndim == 2
    time = "" if still else cf.find("time", array, given.time, where)
    rows = cf.find("y", array, given.y, where)
    columns = cf.find("x", array, given.x, where)
    present = ", ".join(map(str, array.dims)) or "none"
    for role, found in (("time", time), ("row", rows), ("column", columns)):
        if found is None:
            key = {"time": "time", "row": "y", "column": "x"}[role]
            raise DataError(
                f"{where} has no {role} dimension that can be recognised; its dimensions are {present}. "
                f"If one of them is it, say 'dimensions: {{{key}: <its name>}}'"
            )
    assert time is not None
    assert rows is not None
    assert columns is not None
    if len({time, rows, columns}) < 3:
        raise DataError(f"{where}: time, y and x must be three dimensions, got {time!r}, {rows!r}, {columns!r}")
    return time, rows, columns


def _channels(array: Any, dims: tuple[str, str, str], config: NetcdfConfig, where: str) -> list[Channel]:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} holds {array.dtype}, not numbers")
    fixed: dict[str, int] = {}
    spread: str | None = None
    for dim in map(str, array.dims):
        if dim in dims:
            continue
        if dim == config.spread:
            spread = dim
        elif dim in config.select:
            fixed[dim] = _position(array, dim, config.select[dim], where)
        elif array.sizes[dim] == 1:
            fixed[dim] = 0
        else:
            raise DataError(
                f"{where} has the further dimension {dim!r} of size {array.sizes[dim]} ({_coordinate(array, dim)}); "
                f"choose one with 'select: {{{dim}: <value>}}', or make each a variable with 'spread: {dim}'"
            )
    attributes = array.attrs
    name, units = str(array.name), str(attributes.get("units", "1"))
    long_name, standard = str(attributes.get("long_name", "")), str(attributes.get("standard_name", ""))
    if spread is None:
        return [Channel(Variable(name, units, long_name, standard), name, fixed)]
    labels = array[spread].values if spread in array.coords else range(array.sizes[spread])
    return [
        Channel(Variable(f"{name}_{label}", units, f"{long_name} {label}".strip()), name, {**fixed, spread: index})
        for index, label in enumerate(labels)
    ]


def _position(array: Any, dim: str, wanted: float | int | str, where: str) -> int:
    if dim not in array.coords:
        size = array.sizes[dim]
        if not isinstance(wanted, int) or not 0 <= wanted < size:
            raise DataError(f"{where}: {dim!r} has no coordinate; select a number from 0 to {size - 1}, got {wanted!r}")
        return wanted
    values = array[dim].values
    if values.dtype.kind in "fiu" and isinstance(wanted, (int, float)):
        hits = np.flatnonzero(np.isclose(values, wanted, rtol=1e-4, atol=1e-6))
    else:
        hits = np.flatnonzero(values.astype(str) == str(wanted))
    if hits.size != 1:
        raise DataError(f"{where}: {dim!r} has no entry {wanted!r}; it has {_coordinate(array, dim)}")
    return int(hits[0])


def _coordinate(array: Any, dim: str) -> str:
    if dim not in array.coords:
        return f"numbers 0 to {array.sizes[dim] - 1}"
    values = [str(value) for value in array[dim].values]
    return ", ".join(values if len(values) <= 8 else [*values[:4], "...", *values[-2:]])


def _axis(role: cf.Role, array: Any, dim: str, path: Path | str) -> Axis:
    if dim not in array.coords or array[dim].values.dtype.kind not in "fiu":
        return Axis(dim)
    coordinate = array[dim]
    standard_name = cf.standard_name(role, dim, coordinate.attrs)
    values = np.asarray(coordinate.values, dtype=np.float64)
    if standard_name == "longitude":  # 179 is followed by -180 in some files
        values = np.unwrap(values, period=360.0)
    steps = np.diff(values)
    if not ((steps > 0).all() or (steps < 0).all()):
        at = int(np.flatnonzero(np.sign(steps) != np.sign(steps[0]) if steps[0] else steps == 0)[0])
        raise DataError(
            f"{path}: {dim!r} neither rises nor falls throughout: {values[at]:g} (number {at}, from 0) is followed by "
            f"{values[at + 1]:g}; sort the file by it"
        )
    return Axis(name=dim, values=values, units=str(coordinate.attrs.get("units", "")), standard_name=standard_name)


def _block_steps(array: Any, time: str) -> int:
    """The chunks' length in time; 1 where the file is in one piece and every step can be read by itself."""
    chunks = array.encoding.get("chunks") or array.encoding.get("chunksizes")
    return int(chunks[array.dims.index(time)]) if chunks else 1


def _grid_mapping(dataset: Any, array: Any, dims: tuple[str, str, str]) -> GridMapping | None:
    """What the variable's ``grid_mapping`` names: one name, or of ``crs: x y other: lat lon`` that of the dimensions.

    Where the mapping has a PROJ string and not the parameters that CF wants, they are made from it.
    """
    said = str(array.attrs.get("grid_mapping", array.encoding.get("grid_mapping", "")))
    groups: dict[str, set[str]] = {}
    for word in said.split():
        if word.endswith(":"):
            groups[word.removesuffix(":")] = set()
        elif groups:
            groups[list(groups)[-1]].add(word)
    name = next((one for one, coordinates in groups.items() if set(dims[1:]) <= coordinates), next(iter(groups), said))
    if name not in dataset.variables:
        return None
    attributes = dict(dataset[name].attrs)
    text = next((str(attributes[key]) for key in _PROJ if key in attributes), "")
    units = str(array[dims[2]].attrs.get("units", "m")) if dims[2] in array.coords else "m"
    return GridMapping(name, {**(grid_mapping(text, units) or {}), **attributes})


_PROJ = ("proj4", "proj4_params", "proj4text", "proj4string")
"""What attributes with a PROJ string are called."""


def places_of(dataset: Any, path: Path | str, config: NetcdfConfig) -> Places | None:
    """Latitude and longitude of each cell, where the file has them as fields of rows and columns.

    Raises:
        DataError: they cannot be read.
    """
    part = examine(dataset, path, config)
    rows, columns = part.dims[1:]
    found = []
    for units, standard in (("degrees_north", "latitude"), ("degrees_east", "longitude")):
        fits = [
            variable
            for variable in dataset.variables.values()
            if set(variable.dims) == {rows, columns}
            and (variable.attrs.get("standard_name") == standard or variable.attrs.get("units") == units)
        ]
        if len(fits) != 1:
            return None
        try:
            found.append(np.asarray(fits[0].transpose(rows, columns).values))
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"{path}: cannot read {standard}; the file may be cut short ({one_line(error)})") from error
    return Places(*found)


def _times(array: Any, dim: str, path: Path | str, allow_gaps: bool) -> Times | None:
    if array.sizes[dim] == 0:
        raise DataError(f"{path}: the time dimension {dim!r} has no entry")
    if dim not in array.coords:
        return None
    values = array[dim].values
    if values.dtype == object:
        values = np.array([_plain(value) for value in values], dtype="datetime64[ns]")
    if values.dtype.kind != "M":
        return None
    times = values.astype("datetime64[ns]")
    check_times(times, str(path), allow_gaps)
    return np.asarray(times)


def _plain(time: Any) -> np.datetime64:
    """A date of a model calendar (no leap days, 360 days) as a real date; the 30th of February becomes its last day."""
    month = np.datetime64(f"{time.year:04d}-{time.month:02d}", "M")
    days = int(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int))
    day = month.astype("datetime64[D]") + (min(time.day, days) - 1)
    seconds = time.hour * 3600 + time.minute * 60 + time.second
    return np.datetime64(day, "ns") + np.timedelta64(seconds, "s")


def _mask(dataset: Any, dims: tuple[str, str, str], name: str | None, path: Path | str) -> NDArray[np.bool_] | None:
    if name is None or _moving_mask(dataset, dims, name):
        return None
    known = [str(variable) for variable in dataset.variables if set(dims[1:]) == set(dataset[variable].dims)]
    if name not in dataset.variables:
        raise DataError(
            f"{path}: no mask variable {name!r}; on {dims[1]} and {dims[2]} it has "
            f"{', '.join(known) or 'none'}{cf.nearest(name, known)}"
        )
    array = dataset[name]
    if set(array.dims) != set(dims[1:]):
        raise DataError(
            f"{path}: the mask {name!r} must lie on {dims[1]} and {dims[2]}, or on {dims[0]} as well, "
            f"got {', '.join(map(str, array.dims))}"
        )
    values = np.asarray(array.transpose(*dims[1:]).values, dtype=np.float64)
    mask = np.isfinite(values) & (values != 0)
    if not mask.any():
        raise DataError(f"{path}: the mask {name!r} is zero everywhere: no cell counts")
    return np.asarray(mask)


def _moving_mask(dataset: Any, dims: tuple[str, str, str], name: str | None) -> str | None:
    there = name is not None and name in dataset.variables and set(dataset[name].dims) == set(dims)
    return name if there else None


def _attribute(dataset: Any, *names: str) -> str:
    return next((str(dataset.attrs[name]) for name in names if dataset.attrs.get(name)), "")


def one_line(error: BaseException) -> str:
    """An error of a library, short enough to quote."""
    return " ".join(str(error).split())[:200]
