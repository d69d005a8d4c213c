"""Forecasts as programs for maps read them: GDAL (and so QGIS) and CDO, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

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


def test_cdo_reads_times_members_and_the_grid(forecast: Path) -> None:
    told = said_by("cdo", "-s", "sinfon", str(forecast))
    assert "2004-05-01 00:00:00  2004-06-01 00:00:00" in told
    assert "longitude : 10 to 30 by 2.5" in told
    assert "realization : 0 to 1" in told
    assert "ForecastRefTime =  2004-04-01T00:00:00" in told
