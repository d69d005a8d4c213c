"""Lines that show where land is: the real coast where it can be had without a network, else the edge of the mask.

The coast is that of Natural Earth, or else of GSHHS, as cartopy finds it on this machine: ``pip install
"stkit-torch[maps]"``, then, once, ``python -m cartopy.feature.download physical``; or Debian's package
``python-cartopy-data`` with ``CARTOPY_DATA_DIR=/usr/share/cartopy/data``. Nothing is ever downloaded from here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stkit.data.source import Grid

Line = NDArray[np.float64]
"""``N 2``: points ``x, y`` in the coordinates of the grid's axes."""

_RESOLUTIONS = {"110m": "c", "50m": "l", "10m": "i"}
"""Of Natural Earth, and what is about as fine in GSHHS."""
_DATE_LINE = 180.0 - 1e-6
_FINE_BELOW_DEGREES = (60.0, 12.0)
"""A longer side below the first wants the second resolution, below the second the third."""


def coast(grid: Grid, valid: NDArray[np.bool_]) -> list[Line]:
    """Lines for maps on a grid; none where everything has a value and the coast is not known.

    Args:
        grid: of the maps.
        valid: ``H W``, where the field ever has a value.
    """
    return _real(grid) or mask_edges(grid, valid)


def mask_edges(grid: Grid, valid: NDArray[np.bool_]) -> list[Line]:
    """The edges between cells with and cells without a value, each as long as it is straight."""
    rows, columns = _edges_of_cells(grid.y.values, grid.height), _edges_of_cells(grid.x.values, grid.width)
    lines = [
        np.array([[columns[start], rows[row + 1]], [columns[stop], rows[row + 1]]])
        for row, changed in enumerate(valid[1:] != valid[:-1])
        for start, stop in _runs(changed)
    ]
    lines += [
        np.array([[columns[column + 1], rows[start]], [columns[column + 1], rows[stop]]])
        for column, changed in enumerate((valid[:, 1:] != valid[:, :-1]).T)
        for start, stop in _runs(changed)
    ]
    return lines


def _runs(true: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and stop of each run of true values."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in ends.reshape(-1, 2)]


def _edges_of_cells(values: NDArray[np.float64] | None, count: int) -> NDArray[np.float64]:
    """Coordinates of the edges of all rows or columns, as an image draws them: all of one size."""
    if values is None or count < 2:
        first = 0.0 if values is None else float(values[0])
        return np.asarray(first - 0.5 + np.arange(count + 1))
    half = float(values[-1] - values[0]) / (count - 1) / 2
    return np.linspace(float(values[0]) - half, float(values[-1]) + half, count + 1)


def _real(grid: Grid) -> list[Line]:
    if grid.latitude is None or grid.longitude is None:
        return []
    columns, rows = _edges_of_cells(grid.longitude, grid.width), _edges_of_cells(grid.latitude, grid.height)
    west, east = sorted((columns[0], columns[-1]))
    south, north = sorted((rows[0], rows[-1]))
    side = max(east - west, north - south)
    finest = sum(side < limit for limit in _FINE_BELOW_DEGREES)
    # The one that fits, then coarser ones, then finer ones.
    names = list(_RESOLUTIONS)
    wanted = [*names[finest::-1], *names[finest + 1 :]]
    lines = next((found for found in map(_shapes, wanted) if found), ())
    inside = []
    for turn in range(int(np.floor((west + 180) / 360)) * 360, int(np.ceil((east + 180) / 360)) * 360, 360):
        inside += [
            part for line in lines for part in _inside(line + np.array([turn, 0.0]), (west, south), (east, north))
        ]
    return inside


def _inside(line: Line, low: tuple[float, float], high: tuple[float, float]) -> list[Line]:
    """The parts of a line with a point inside a box, each with its neighbours outside."""
    within = np.asarray(((line >= low) & (line <= high)).all(axis=1))
    kept = within.copy()
    kept[1:] |= within[:-1]
    kept[:-1] |= within[1:]
    return [line[start:stop] for start, stop in _runs(kept) if stop - start > 1]


@cache
def _shapes(resolution: str) -> tuple[Line, ...]:
    """Lines of the coast in degrees east, -180 to 180, and north; nothing where they are not on this machine."""
    path = _shapefile(resolution)
    if path is None:
        return ()
    import shapefile  # pyshp, which cartopy reads them with

    lines: list[Line] = []
    with shapefile.Reader(str(path)) as shapes:
        for shape in shapes.iterShapes():
            points = np.asarray(shape.points, dtype=np.float64)[:, :2]
            for part in np.split(points, shape.parts[1:]):
                # Land that is cut at the date line has an edge there that is no coast.
                cut = np.abs(part[:, 0]) >= _DATE_LINE
                lines += np.split(part, np.flatnonzero(cut[1:] & cut[:-1]) + 1)
    return tuple(line for line in lines if len(line) > 1)


def _shapefile(resolution: str) -> Path | None:
    """Where cartopy has the file already; None without cartopy, or where it would have to download it."""
    try:
        import cartopy
        from cartopy.io import Downloader
    except ImportError:
        return None
    natural_earth = {"category": "physical", "name": "coastline", "resolution": resolution}
    gshhs = {"scale": _RESOLUTIONS[resolution], "level": 1}
    for name, values in (("natural_earth", [resolution, "physical", "coastline"]), ("gshhs", list(gshhs.values()))):
        loader = Downloader.from_config(("shapefiles", name, *values))
        places = {"config": cartopy.config, **(natural_earth if name == "natural_earth" else gshhs)}
        for path in (loader.pre_downloaded_path(places), loader.target_path(places)):
            if path is not None and Path(path).is_file():
                return Path(path)
    return None
