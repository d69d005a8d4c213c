"""Forecasts as programs for maps read them: GDAL (and so QGIS) and CDO, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stkit.data.calendar import following
from stkit.data.projection import grid_mapping
from stkit.data.source import Axis, Grid, GridMapping, Variable
from stkit.evaluate.forecast_file import forecast_file
from stkit.evaluate.forecast_layout import Layout
from stkit.predict.forecast import predict
from stkit.run.directory import RunDirectory


def said_by(program: str, *arguments: str) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def forecast(trained: RunDirectory, inputs: Path, tmp_path: Path) -> Path:
    predict(trained.path, inputs, tmp_path / "out.nc", lags=2, by_valid_time=True)
    return tmp_path / "out.nc"


def test_gdal_reads_a_band_for_each_time_and_member(forecast: Path) -> None:
    told = said_by("gdalinfo", f"NETCDF:{forecast}:sst")
    assert "Size is 9, 6" in told
    assert "NETCDF_DIM_EXTRA={time,realization}" in told
    assert told.count("NETCDF_VARNAME=sst") == 4
    assert "Unit Type: degC" in told


def test_gdal_knows_where_a_radar_forecast_is(tmp_path: Path) -> None:
    """By the projection that KNMI writes as a PROJ string, the Earth's axes in kilometres."""
    mapping = grid_mapping("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0")
    assert mapping is not None
    y, x = -3913500.0 - 1000.0 * np.arange(4), 242500.0 + 1000.0 * np.arange(5)
    axes = [Axis(name, values, "m", f"projection_{name}_coordinate") for name, values in (("y", y), ("x", x))]
    start, step = np.array(["2010-08-26T00:00"], dtype="datetime64[ns]"), np.timedelta64(5, "m")
    layout = Layout(
        variables=(Variable("rain_rate", "mm/h"),),
        grid=Grid(4, 5, axes[0], axes[1], GridMapping("crs", mapping)),
        windows=1,
        leads=2,
        step=step,
        starts=start,
        valid=following(start, 2, step),
        by_valid_time=True,
    )
    with forecast_file(tmp_path / "rain.nc", layout, {}) as file:
        file.write(0, np.ones((1, 2, 1, 4, 5)))
    told = said_by("gdalinfo", f"NETCDF:{tmp_path / 'rain.nc'}:rain_rate")
    assert "Polar Stereographic (variant B)" in told
    assert "(  3d32'20.25\"E, 53d36'27.33\"N)" in told


def test_cdo_reads_times_members_and_the_grid(forecast: Path) -> None:
    told = said_by("cdo", "-s", "sinfon", str(forecast))
    assert "2004-05-01 00:00:00  2004-06-01 00:00:00" in told
    assert "longitude : 10 to 30 by 2.5" in told
    assert "realization : 0 to 1" in told
    assert "ForecastRefTime =  2004-04-01T00:00:00" in told
