"""Which dimension is which, by the CF conventions or by the names that people use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from stkit.errors import DataError
from stkit.errors import nearest as nearest_names

Role = Literal["time", "y", "x"]

_AXIS = {"time": "T", "y": "Y", "x": "X"}
_STANDARD_NAMES = {
    "time": ("time",),
    "y": ("latitude", "projection_y_coordinate", "grid_latitude"),
    "x": ("longitude", "projection_x_coordinate", "grid_longitude"),
}
_UNITS = {
    "time": (),
    "y": ("degrees_north", "degree_north", "degrees_n", "degree_n"),
    "x": ("degrees_east", "degree_east", "degrees_e", "degree_e"),
}
_NAMES = {
    "time": ("time", "t", "date", "datetime", "valid_time", "time_counter", "month", "day", "step", "frame"),
    "y": ("lat", "latitude", "nav_lat", "y", "nlat", "rlat", "yc", "j", "row", "rows", "height", "northing"),
    "x": ("lon", "longitude", "nav_lon", "long", "x", "nlon", "rlon", "xc", "i", "col", "column", "width", "easting"),
}
_GEOGRAPHIC = {"y": "latitude", "x": "longitude"}


def find(role: Role, array: Any, given: str | None, where: str) -> str | None:
    """The dimension of ``array`` (an ``xarray.DataArray``) that plays a role, or None.

    Raises:
        DataError: if the ``given`` name is no dimension of the array.
    """
    names = [str(name) for name in array.dims]
    if given is not None:
        if given not in names:
            raise DataError(
                f"{where}: the {role} dimension {given!r} is not one of {_listed(names)}{nearest(given, names)}"
            )
        return given
    for test in (_by_attributes, _by_dtype, _by_name):
        found = [name for name in names if test(role, name, array)]
        if len(found) == 1:
            return found[0]
    return None


def standard_name(role: Role, name: str, attributes: Mapping[str, Any]) -> str:
    """``latitude``, ``longitude``, what the file says, or an empty string."""
    said = str(attributes.get("standard_name", ""))
    geographic = _GEOGRAPHIC.get(role)
    units = str(attributes.get("units", "")).lower()
    if geographic and not said and (units in _UNITS[role] or name.lower() in (geographic, geographic[:3])):
        return geographic
    return said


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or an empty string."""
    close = nearest_names(name, known)
    return f"; did you mean {close[0]!r}?" if close else ""


def _by_attributes(role: Role, name: str, array: Any) -> bool:
    attributes = array[name].attrs if name in array.coords else {}
    return (
        attributes.get("axis") == _AXIS[role]
        or attributes.get("standard_name") in _STANDARD_NAMES[role]
        or str(attributes.get("units", "")).lower() in _UNITS[role]
    )


def _by_dtype(role: Role, name: str, array: Any) -> bool:
    if role != "time" or name not in array.coords:
        return False
    values = array[name].values
    return values.dtype.kind == "M" or (values.dtype == object and values.size > 0 and hasattr(values.flat[0], "year"))


def _by_name(role: Role, name: str, array: Any) -> bool:
    return name.lower() in _NAMES[role]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "(none)"
