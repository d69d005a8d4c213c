"""PROJ strings as CF grid mappings: read back by pyproj, they are the same projection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.projection import grid_mapping
from tests.data.fields import dataset, months, seasonal, write

KNMI = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0"
FMI = "+proj=stere +lon_0=25E +lat_0=90N +lat_ts=60 +a=6371288 +x_0=380886.310 +y_0=3395677.920 +no_defs"
PROJECTIONS = {
    KNMI: "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +x_0=0 +y_0=0",
    FMI: "+proj=stere +lon_0=25 +lat_0=90 +lat_ts=60 +a=6371288 +b=6371288 +x_0=380886.310 +y_0=3395677.920",
    "+proj=stere +lat_0=90S +lon_0=10W +k=0.97": "+proj=stere +lat_0=-90 +lon_0=-10 +k=0.97 +ellps=WGS84",
    "+proj=stere +lat_0=50 +lon_0=5 +R=6370000": None,
    "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84": None,
    "+proj=aeqd +lat_0=52 +lon_0=5 +ellps=bessel": None,
    "+proj=lcc +lat_1=25 +lat_2=45 +lat_0=25 +lon_0=-95 +R=6370000": None,
    "+proj=lcc +lat_1=46.5 +lat_0=46.5 +lon_0=2 +a=6378137 +rf=298.257223563": None,
    "+proj=merc +lon_0=10 +lat_ts=20 +ellps=GRS80": None,
    "+proj=tmerc +lat_0=0 +lon_0=9 +k=0.9996 +x_0=500000 +ellps=intl": None,
}


@pytest.mark.parametrize("text", PROJECTIONS)
def test_pyproj_reads_the_same_projection(text: str) -> None:
    pyproj = pytest.importorskip("pyproj")
    attributes = grid_mapping(text)
    assert attributes is not None
    longitude, latitude = np.array([4.0, -3.0, 12.0]), np.array([51.0, 57.0, 47.0])
    if "lat_0=90S" in text:
        latitude = -latitude
    expected = pyproj.Proj(PROJECTIONS[text] or text)(longitude, latitude)
    found = pyproj.Proj(pyproj.CRS.from_cf(attributes))(longitude, latitude)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-3)


def test_false_eastings_are_in_the_unit_of_the_axes() -> None:
    found = grid_mapping(FMI, "km")
    assert found is not None
    assert (found["false_easting"], found["earth_radius"]) == (380.88631, 6371288.0)
    assert grid_mapping("+proj=longlat +datum=WGS84") == {
        "grid_mapping_name": "latitude_longitude",
        "semi_major_axis": 6378137.0,
        "inverse_flattening": 298.257223563,
    }


@pytest.mark.parametrize("text", ["", "+proj=geos +h=35785831", "+proj=stere +lat_0=north", "a projection"])
def test_what_is_not_known_is_left_alone(text: str) -> None:
    assert grid_mapping(text) is None


def field_of() -> xr.Dataset:
    return dataset(seasonal(6)[:, 0], months(6))


def opened(field: xr.Dataset, folder: Path) -> NetcdfSource:
    return NetcdfSource(NetcdfConfig(name="netcdf", path=write(folder, field), variables=("sst",)))


@pytest.mark.parametrize("said", ["crs", "crs: lat lon", "wrong: a b crs: lon lat", "crs: lat lon wrong: a b"])
def test_both_forms_of_a_grid_mapping(said: str, tmp_path: Path) -> None:
    """The short one, and the long one with the coordinates that each mapping is of."""
    field = field_of()
    field["crs"] = ((), 0, {"grid_mapping_name": "latitude_longitude"})
    field["wrong"] = ((), 0, {"grid_mapping_name": "mercator"})
    field.sst.attrs["grid_mapping"] = said
    mapping = opened(field, tmp_path).grid.mapping
    assert mapping is not None
    assert (mapping.name, mapping.attributes["grid_mapping_name"]) == ("crs", "latitude_longitude")


def test_a_mapping_gets_the_parameters_that_it_lacks(tmp_path: Path) -> None:
    field = field_of()
    field["crs"] = ((), 0, {"grid_mapping_name": "polar_stereographic", "proj4": KNMI, "false_easting": 7.0})
    field.sst.attrs["grid_mapping"] = "crs"
    mapping = opened(field, tmp_path).grid.mapping
    assert mapping is not None
    assert mapping.attributes["latitude_of_projection_origin"] == 90.0
    assert mapping.attributes["false_easting"] == 7.0, "what the file says stays"
    field.sst.attrs["grid_mapping"] = "nothing"
    assert opened(field, tmp_path).grid.mapping is None


def test_places_of_a_curved_grid(tmp_path: Path) -> None:
    field = field_of()
    height, width = field.sizes["lat"], field.sizes["lon"]
    field = field.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    there = np.arange(height * width, dtype=np.float32).reshape(height, width)
    field = field.assign_coords(
        nav_lat=(("y", "x"), there, {"units": "degrees_north"}),
        nav_lon=(("x", "y"), there.T + 5, {"standard_name": "longitude"}),
    )
    places = opened(field, tmp_path).grid.places
    assert places is not None
    np.testing.assert_array_equal(places.latitude, there)
    np.testing.assert_array_equal(places.longitude, there + 5)
    assert opened(field.assign(corner=field.nav_lat), tmp_path).grid.places is None, "two latitudes: which is not said"
    assert opened(field_of(), tmp_path).grid.places is None
