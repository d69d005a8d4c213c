"""One map: a field on its grid, land in grey, real coordinates where there are any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from stkit.data.source import Grid
from stkit.evaluate.figures.canvas import LIGHT, Theme
from stkit.evaluate.figures.coast import Line
from stkit.evaluate.figures.colours import Scale

COAST = LIGHT.ink
"""In both themes: it lies on the colours of the field."""
_WIDE_GRID = 3.0


def is_wide(grid: Grid) -> bool:
    """Whether maps of the grid are better stacked than set side by side."""
    return grid.width > _WIDE_GRID * grid.height


def show(
    axes: Axes,
    field: NDArray[np.floating],
    grid: Grid,
    scale: Scale,
    theme: Theme,
    *,
    inches: float,
    coast: Sequence[Line] = (),
) -> AxesImage:
    """Draw a field (``H W``, NaN where missing) ``inches`` wide and return what a colour bar needs.

    Args:
        axes: where.
        field: what.
        grid: of the field.
        scale: colours of the values.
        theme: colours of everything else.
        inches: width of the map on paper.
        coast: lines in the coordinates of the grid's axes (:func:`stkit.evaluate.figures.coast.coast`).
    """
    rows, columns = row_edges(grid), column_edges(grid)
    axes.set_facecolor(theme.land)
    image = axes.imshow(
        np.ma.masked_invalid(field),
        cmap=scale.colormap,
        norm=scale.norm,
        extent=(columns[0], columns[1], rows[0], rows[1]),
        origin="lower",
        aspect="auto",
    )
    if coast:
        axes.add_collection(LineCollection(coast, colors=COAST, linewidths=0.6), autolim=False)
    # Rows without a coordinate are counted from the top, as in an image; a coordinate grows upwards.
    axes.set_ylim(*sorted(rows, reverse=grid.y.values is None))
    axes.set_xlim(*sorted(columns))
    axes.tick_params(length=2.5, pad=2)
    _label(axes, grid, most=max(2, int(inches / 0.8)))
    return image


def hide_ticks(axes: Axes, *, rows: bool, columns: bool) -> None:
    """Leave out labels that a neighbouring map already carries."""
    axes.tick_params(labelleft=rows, labelbottom=columns)


def row_edges(grid: Grid) -> tuple[float, float]:
    """Coordinates of the outer edges of the first and the last row."""
    return _edges(grid.y.values, grid.height)


def column_edges(grid: Grid) -> tuple[float, float]:
    """Coordinates of the outer edges of the first and the last column."""
    return _edges(grid.x.values, grid.width)


def _edges(values: NDArray[np.float64] | None, count: int) -> tuple[float, float]:
    """Outer edges of the first and the last cell."""
    if values is None or count < 2:
        return (-0.5, count - 0.5) if values is None else (float(values[0]) - 0.5, float(values[0]) + 0.5)
    half = float(values[-1] - values[0]) / (count - 1) / 2
    return float(values[0]) - half, float(values[-1]) + half


def _label(axes: Axes, grid: Grid, most: int) -> None:
    if grid.longitude is not None:
        axes.xaxis.set_major_locator(FixedLocator(_round_degrees(column_edges(grid), most)))
        axes.xaxis.set_major_formatter(lambda value, _: longitude_text(value))
    elif grid.x.values is not None:
        axes.xaxis.set_major_locator(MaxNLocator(most))
    else:
        axes.xaxis.set_major_locator(NullLocator())
    if grid.latitude is not None:
        axes.yaxis.set_major_locator(FixedLocator(_round_degrees(row_edges(grid), 3)))
        axes.yaxis.set_major_formatter(lambda value, _: latitude_text(value))
    elif grid.y.values is not None:
        axes.yaxis.set_major_locator(MaxNLocator(3))
    else:
        axes.yaxis.set_major_locator(NullLocator())


def _round_degrees(ends: tuple[float, float], most: int) -> list[float]:
    """Round degrees between two edges, at most about ``most`` of them."""
    low, high = sorted(ends)
    step = next((s for s in (1, 2, 5, 10, 15, 20, 30, 60, 90, 120) if (high - low) / s <= most), 180)
    return [float(v) for v in np.arange(np.ceil(low / step) * step, high + 1e-9, step)]


def longitude_text(degrees: float) -> str:
    """``160°W`` for 200."""
    east = (degrees + 180.0) % 360.0 - 180.0
    if abs(east) < 1e-9 or abs(abs(east) - 180.0) < 1e-9:
        return f"{abs(east):g}°"
    return f"{abs(east):g}°{'E' if east > 0 else 'W'}"


def latitude_text(degrees: float) -> str:
    """``5°S`` for -5."""
    if abs(degrees) < 1e-9:
        return "0°"
    return f"{abs(degrees):g}°{'N' if degrees > 0 else 'S'}"
