"""Projections as radar services write them (PROJ strings), said again as CF grid mappings, which map programs read.

PROJ: proj.org/en/stable/operations/projections. CF: cfconventions.org, appendix F.
"""

from __future__ import annotations

from typing import Any

_PARALLEL, _ORIGIN = "standard_parallel", "latitude_of_projection_origin"
_NAMES = {
    "longlat": "latitude_longitude",
    "latlong": "latitude_longitude",
    "laea": "lambert_azimuthal_equal_area",
    "aeqd": "azimuthal_equidistant",
    "lcc": "lambert_conformal_conic",
    "merc": "mercator",
    "tmerc": "transverse_mercator",
    "stere": "stereographic",
}
_ELLIPSOIDS = {
    "WGS84": (6378137.0, 298.257223563),
    "GRS80": (6378137.0, 298.257222101),
    "bessel": (6377397.155, 299.1528128),
    "intl": (6378388.0, 297.0),
    "sphere": (6370997.0, 0.0),
}
"""Semi-major axis [m] and inverse flattening (0: a sphere)."""
_LEAST_EARTH_METRES = 1e6
"""An axis of the Earth below this is in kilometres, as KNMI writes it."""


def grid_mapping(text: str, axis_units: str = "m") -> dict[str, Any] | None:
    """The attributes of a CF grid mapping variable; None where the projection is not one of those known here.

    Args:
        text: such as ``+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.137 +b=6356.752``.
        axis_units: of the projection's coordinates, ``m`` or ``km``: false eastings and northings are in them.

    Example:
        >>> grid_mapping("+proj=longlat +R=6371000")
        {'grid_mapping_name': 'latitude_longitude', 'earth_radius': 6371000.0}
    """
    said = dict(part.lstrip("+").partition("=")[::2] for part in text.split())
    name = _NAMES.get(said.get("proj", ""))
    if name is None:
        return None
    try:
        return {"grid_mapping_name": _called(name, said), **_place(name, said, axis_units), **_earth(said)}
    except ValueError:
        return None


def _called(name: str, said: dict[str, str]) -> str:
    return "polar_stereographic" if name == "stereographic" and abs(_degrees(said, "lat_0")) == 90.0 else name


def _place(name: str, said: dict[str, str], axis_units: str) -> dict[str, Any]:
    if name == "latitude_longitude":
        return {}
    metres = 1000.0 if axis_units.lower() in ("km", "kilometer", "kilometre", "kilometers", "kilometres") else 1.0
    found: dict[str, Any] = {
        "false_easting": float(said.get("x_0", 0)) / metres,
        "false_northing": float(said.get("y_0", 0)) / metres,
    }
    longitude, latitude = _degrees(said, "lon_0"), _degrees(said, "lat_0")
    scale = said.get("k", said.get("k_0"))
    if _called(name, said) == "polar_stereographic":
        found |= {"straight_vertical_longitude_from_pole": longitude, _ORIGIN: latitude}
        return found | _true_scale(said, scale, 90.0 if latitude > 0 else -90.0)
    if name == "mercator":
        return found | {"longitude_of_projection_origin": longitude} | _true_scale(said, scale, 0.0)
    if name == "lambert_conformal_conic":
        parallels = [_degrees(said, key) for key in ("lat_1", "lat_2") if key in said] or [latitude]
        said_once = parallels[0] if len(parallels) == 1 else parallels
        return found | {"longitude_of_central_meridian": longitude, _ORIGIN: latitude, _PARALLEL: said_once}
    if name == "transverse_mercator":
        centre = {"longitude_of_central_meridian": longitude, _ORIGIN: latitude}
        return found | centre | {"scale_factor_at_central_meridian": float(scale or 1.0)}
    centre = {"longitude_of_projection_origin": longitude, _ORIGIN: latitude}
    oblique = {"scale_factor_at_projection_origin": float(scale or 1.0)} if name == "stereographic" else {}
    return found | centre | oblique


def _true_scale(said: dict[str, str], scale: str | None, otherwise: float) -> dict[str, float]:
    if scale is not None and "lat_ts" not in said:
        return {"scale_factor_at_projection_origin": float(scale)}
    return {_PARALLEL: _degrees(said, "lat_ts") if "lat_ts" in said else otherwise}


def _earth(said: dict[str, str]) -> dict[str, float]:
    if "R" in said:
        return {"earth_radius": _metres(said["R"])}
    if "a" in said:
        major = _metres(said["a"])
        if "b" in said:
            return {"semi_major_axis": major, "semi_minor_axis": _metres(said["b"])}
        if "rf" in said:
            return {"semi_major_axis": major, "inverse_flattening": float(said["rf"])}
        return {"earth_radius": major}
    major, inverse = _ELLIPSOIDS.get(said.get("ellps", said.get("datum", "WGS84")), _ELLIPSOIDS["WGS84"])
    return {"semi_major_axis": major, "inverse_flattening": inverse} if inverse else {"earth_radius": major}


def _metres(text: str) -> float:
    value = float(text)
    return value if value > _LEAST_EARTH_METRES else 1000.0 * value


def _degrees(said: dict[str, str], key: str) -> float:
    """``25E`` and ``60S`` are written, too."""
    text = said.get(key, "0")
    sign = -1.0 if text.endswith(("S", "W")) else 1.0
    return sign * float(text.rstrip("NESW"))
