"""Fields from Zarr stores, local or wherever fsspec reaches, read with xarray."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stkit.data import cf
from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.netcdf_file import one_line
from stkit.data.zarr_config import ZarrConfig
from stkit.errors import DataError


class ZarrSource(NetcdfSource):
    """As :class:`stkit.data.netcdf.NetcdfSource`, from Zarr stores.

    Raises:
        DataError: if zarr is not installed, or a store, variable or dimension is missing or not as expected.
    """

    config: ZarrConfig

    def _find(self) -> list[Path | str]:
        paths = [self.config.path] if isinstance(self.config.path, str) else self.config.path
        if not paths:
            raise DataError("zarr: 'path' names no store")
        return [path if is_address(path) else os.path.expanduser(path) for path in paths]

    def _open_dataset(self, path: Path | str) -> Any:
        return open_store(str(path), self.config.storage_options)

    def _called(self) -> str:
        if len(self.paths) > 1:
            return f"{len(self.paths)} stores"
        return str(self.paths[0]).rstrip("/").rpartition("/")[-1]


def is_address(path: str) -> bool:
    """Whether a path is for fsspec, and none of the local file system."""
    return "://" in path or "::" in path


def for_path(config: NetcdfConfig, path: Path) -> NetcdfConfig:
    """How a file was read, for another one: by what is there, a Zarr store or a NetCDF file."""
    is_store = path.suffix == ".zarr" or any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))
    values = {name: getattr(config, name) for name in NetcdfConfig.model_fields} | {"path": str(path)}
    if is_store:
        return ZarrConfig.model_validate(values | {"name": "zarr"})
    return NetcdfConfig.model_validate(values | {"name": "netcdf"})


def open_store(path: str, storage_options: Mapping[str, Any]) -> Any:
    """Open a store as a lazy ``xarray.Dataset``.

    Raises:
        DataError: if zarr is not installed, there is no such store, it cannot be reached, or it is no Zarr.
    """
    if importlib.util.find_spec("zarr") is None:
        raise DataError(f"{path}: reading Zarr needs zarr: pip install 'stkit-torch[zarr]'")
    import xarray

    remote = is_address(path)
    if not remote and not os.path.exists(path):
        raise DataError(_absent(path))
    options = dict(storage_options) if remote else None
    try:
        try:
            return xarray.open_dataset(path, engine="zarr", consolidated=True, storage_options=options, cache=False)
        except (KeyError, ValueError):
            return xarray.open_dataset(path, engine="zarr", consolidated=False, storage_options=options, cache=False)
    except ImportError as error:
        raise DataError(f"{path}: the address needs a package that is not installed ({one_line(error)})") from error
    # what can go wrong depends on where fsspec goes: each service has errors of its own
    except Exception as error:
        raise DataError(f"{path}: cannot be read as Zarr ({type(error).__name__}: {one_line(error)})") from error


def _absent(path: str) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f"no such store: {path!r} (there is no folder {str(folder)!r}; looked from {Path.cwd()})"
    beside = [entry.name for entry in folder.iterdir()]
    return f"no such store: {path!r} (looked from {Path.cwd()}){cf.nearest(Path(path).name, beside)}"
