"""The packaged NetCDF fields."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.packaged.config import PackagedFieldConfig

SHA256 = {
    "sst_ostia_equatorial_2006_2010.nc": "970c889a518f234a08325e73ddec23f1e30590b29ac3920339a1ec4edc67f75b",
    "wind_navy_1982_1992.nc": "28188d7c6de14f7e7a26761ac123a4c9a61b8d7995f3553ac47d5594e6b1dd05",
    "mnist_digits_9k.npz": "962359502ca43ba18fa713c441e70513a8c768907966551d726a8680168ab8b7",
}
"""The packaged files, as they were made."""


def packaged_path(name: str) -> str:
    """Where a packaged file is."""
    return str(files("stkit.data.packaged").joinpath(name))


def damaged_file() -> str | None:
    """A sentence about the first packaged file that is missing or damaged; None when all are well."""
    for name, expected in SHA256.items():
        try:
            content = files("stkit.data.packaged").joinpath(name).read_bytes()
        except OSError as error:
            return f"packaged data {name}: {error.strerror}; install stkit-torch again"
        if hashlib.sha256(content).hexdigest() != expected:
            return f"packaged data {name} is damaged; install stkit-torch again"
    return None


class OstiaSst(NetcdfSource):
    """Monthly sea-surface temperature of the equatorial band (5 S to 4.4 N), 2006-04 to 2010-09, degrees Celsius."""

    @classmethod
    def from_config(cls, config: PackagedFieldConfig) -> OstiaSst:  # type: ignore[override]
        """Open the packaged file."""
        return cls(
            NetcdfConfig(
                name=config.name,
                path=packaged_path("sst_ostia_equatorial_2006_2010.nc"),
                variables=("sst",),
                mask="sea_mask",
            ),
            name=config.name,
            licence="UK Open Government Licence; British Crown copyright 2018, the Met Office",
            citation=(
                "Donlon, C. J. et al. (2012): The Operational Sea Surface Temperature and Sea Ice Analysis (OSTIA) "
                "system. Remote Sensing of Environment 116, 140-158, doi:10.1016/j.rse.2010.10.017"
            ),
        )


class NavyWind(NetcdfSource):
    """Monthly global surface wind (eastward and northward), 2.5 degrees, 1982 to 1992, metres per second."""

    @classmethod
    def from_config(cls, config: PackagedFieldConfig) -> NavyWind:  # type: ignore[override]
        """Open the packaged file."""
        return cls(
            NetcdfConfig(
                name=config.name,
                path=packaged_path("wind_navy_1982_1992.nc"),
                variables=("wind",),
                spread="component",
            ),
            name=config.name,
            licence="Public domain (NOAA/PMEL, United States Government)",
            citation="Fleet Numerical Oceanography Center monthly surface winds, distributed by NOAA/PMEL with Ferret",
        )
