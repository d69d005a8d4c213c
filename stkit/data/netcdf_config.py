"""Configuration of the data set ``netcdf``. Imports neither torch nor xarray."""

from __future__ import annotations

from pydantic import Field

from stkit.plugin.config import ComponentConfig, Config


class DimensionsConfig(Config):
    """The dimensions' names in the file; null: found by CF attributes (axis, standard_name, units) or usual names."""

    time: str | None = None
    y: str | None = None
    """Rows: latitude, or the y of a projection."""
    x: str | None = None
    """Columns: longitude, or the x of a projection."""


class NetcdfConfig(ComponentConfig):
    """The user's own NetCDF file, or several with consecutive times."""

    path: str | tuple[str, ...]
    """A file, a pattern such as ``sst.*.nc``, or a list of these. ``~`` is the home directory."""
    variables: tuple[str, ...] = ()
    """Names in the file, one channel each; empty: the only one that has time, rows and columns. Beside these a variable
    may have no time (a depth); ``data.roles`` then names it as static."""
    dimensions: DimensionsConfig = DimensionsConfig()
    """Names of the dimensions in the file, where they are not recognised."""
    select: dict[str, float | int | str] = {}
    """For a further dimension (level, member) the coordinate to take: ``{depth: 0.5}``; its number, from 0, where the
    dimension has no coordinate."""
    spread: str | None = None
    """A further dimension each of whose entries becomes a variable of its own (``wind_u``, ``wind_v``)."""
    mask: str | None = None
    """A variable that is nonzero where cells count, on rows and columns, or on time, too, where the mask changes (ice,
    clouds); null: the cells that have a value in training."""
    missing_values: tuple[float, ...] = ()
    """Values that mean "missing" besides the file's own fill value."""
    allow_gaps: bool = False
    """Leave out the windows that would cross a gap in time, instead of refusing the file."""
    memory_mb: int = Field(1024, ge=0)
    """Fields up to this size are kept in memory; larger ones are read from the file window by window."""
