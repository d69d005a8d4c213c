"""Configuration of the data set ``zarr``. Imports neither torch nor xarray."""

from __future__ import annotations

from stkit.data.netcdf_config import NetcdfConfig


class ZarrConfig(NetcdfConfig):
    """A Zarr store, or several with consecutive times."""

    path: str | tuple[str, ...]
    """A store: a folder, or an address that fsspec knows, such as ``s3://bucket/sst.zarr`` or ``zip::sst.zarr.zip``; or
    a list of stores."""
    storage_options: dict[str, str | int | float | bool] = {}
    """What fsspec needs to reach the address: ``{anon: true}``."""
