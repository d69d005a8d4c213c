"""Small records and files that the tests write themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st

from stkit.data.source import ArraySource, Axis, Grid, Variable
from stkit.recipe.sections.data import DataConfig


def months(count: int, first: str = "2000-01") -> np.ndarray:
    """Middle of each month."""
    start = np.datetime64(first, "M")
    return (start + np.arange(count)).astype("datetime64[ns]") + np.timedelta64(15, "D")


def days(count: int, first: str = "2001-01-01") -> np.ndarray:
    return (np.datetime64(first, "D") + np.arange(count)).astype("datetime64[ns]")


def seasonal(steps: int = 60, channels: int = 1, height: int = 4, width: int = 5, seed: int = 0) -> np.ndarray:
    """A season, a slow anomaly and noise; ``T C H W``."""
    rng = np.random.default_rng(seed)
    season = 5 * np.sin(2 * np.pi * np.arange(steps) / 12)[:, None, None, None]
    anomaly = np.zeros((steps, channels, height, width))
    for step in range(1, steps):
        anomaly[step] = 0.8 * anomaly[step - 1] + rng.normal(size=(channels, height, width))
    return (20 + season + anomaly).astype(np.float32)


def with_land(fields: np.ndarray) -> np.ndarray:
    """The first row is land; one sea cell is missing now and then."""
    fields = fields.copy()
    fields[..., 0, :] = np.nan
    fields[::7, :, -1, -1] = np.nan
    return fields


def source(steps: int = 60, **kwargs: Any) -> ArraySource:
    fields = with_land(seasonal(steps, **kwargs))
    channels, height, width = fields.shape[1:]
    return ArraySource(
        fields,
        months(steps),
        [Variable(f"v{i}", "degC") for i in range(channels)],
        Grid(height, width, Axis("lat", np.arange(height) * 2.0, "degrees_north", "latitude"), Axis("x")),
        name="record",
    )


def config(**values: Any) -> DataConfig:
    """A ``data:`` section; the data set it names is a placeholder unless it is given."""
    defaults: dict[str, Any] = {"dataset": {"name": "sst_ostia"}, "input_steps": 3, "horizon": 2}
    return DataConfig.model_validate(defaults | values)


def dataset(
    fields: np.ndarray,
    times: np.ndarray | None = None,
    name: str = "sst",
    dims: tuple[str, ...] = ("time", "lat", "lon"),
) -> xr.Dataset:
    """``T H W`` fields as a CF data set."""
    time, lat, lon = dims[0], dims[-2], dims[-1]
    coords: dict[str, Any] = {
        lat: (lat, np.linspace(-4, 4, fields.shape[-2]), {"units": "degrees_north", "standard_name": "latitude"}),
        lon: (lon, np.linspace(0, 30, fields.shape[-1]), {"units": "degrees_east", "standard_name": "longitude"}),
    }
    if times is not None:
        coords[time] = (time, times)
    variable = (dims, fields.astype(np.float32), {"units": "degC", "long_name": "temperature"})
    return xr.Dataset({name: variable}, coords=coords)


def write(folder: Path, data: xr.Dataset, name: str = "field.nc") -> str:
    path = folder / name
    data.to_netcdf(path, engine="h5netcdf")
    return str(path)


seeds = st.integers(0, 2**31 - 1)
