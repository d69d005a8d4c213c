"""One map: a field on its grid, land in grey, real coordinates where there are any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from stkit.data.source import Grid
from stkit.evaluate.figures.canvas import Theme

FIELD_MAP = "viridis"
"""Perceptually uniform, readable with every common colour vision deficiency and in grey."""
ERROR_MAP = "RdBu_r"
"""Diverging without green: told apart with every common colour vision deficiency."""

_WIDE_GRID = 3.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Range of a colour bar."""

    low: float
    high: float
    extend: str
    """``neither``, ``min``, ``max`` or ``both``: whether values lie outside."""

    @staticmethod
    def of_field(truth: NDArray[np.floating], *others: NDArray[np.floating]) -> Scale:
        """From the truth, without its outermost half per cent, so that a few cells do not flatten the rest."""
        known = truth[np.isfinite(truth)]
        if known.size == 0:
            return Scale(0.0, 1.0, "neither")
        low, high = (float(v) for v in np.percentile(known, (0.5, 99.5)))
        if not low < high:
            low, high = float(known.min()), float(known.max())
        if not low < high:
            low, high = low - 0.5, low + 0.5
        return Scale(low, high, _extend((truth, *others), low, high))

    @staticmethod
    def of_error(error: NDArray[np.floating]) -> Scale:
        """The same on both sides of zero."""
        known = np.abs(error[np.isfinite(error)])
        high = float(np.percentile(known, 99)) if known.size else 1.0
        high = high if high > 0 else 1.0
        return Scale(-high, high, _extend((error,), -high, high))


def _extend(fields: tuple[NDArray[np.floating], ...], low: float, high: float) -> str:
    below = any(bool((field[np.isfinite(field)] < low).any()) for field in fields)
    above = any(bool((field[np.isfinite(field)] > high).any()) for field in fields)
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def is_wide(grid: Grid) -> bool:
    """Whether maps of the grid are better stacked than set side by side."""
    return grid.width > _WIDE_GRID * grid.height


def show(
    axes: Axes,
    field: NDArray[np.floating],
    grid: Grid,
    scale: Scale,
    colours: str | Colormap,
    theme: Theme,
    *,
    inches: float,
) -> AxesImage:
    """Draw a field (``H W``, NaN where missing) ``inches`` wide and return what a colour bar needs."""
    rows = _edges(grid.y.values, grid.height)
    columns = _edges(grid.x.values, grid.width)
    axes.set_facecolor(theme.land)
    image = axes.imshow(
        np.ma.masked_invalid(field),
        cmap=colours,
        vmin=scale.low,
        vmax=scale.high,
        extent=(columns[0], columns[1], rows[0], rows[1]),
        origin="lower",
        aspect="auto",
    )
    # Rows without a coordinate are counted from the top, as in an image; latitudes run north.
    upwards = grid.y.values is not None and (grid.latitude is not None or rows[0] < rows[1])
    axes.set_ylim(*sorted(rows, reverse=not upwards))
    axes.set_xlim(*sorted(columns))
    axes.tick_params(length=2.5, pad=2)
    _label(axes, grid, most=max(2, int(inches / 0.8)))
    return image


def hide_ticks(axes: Axes, *, rows: bool, columns: bool) -> None:
    """Leave out labels that a neighbouring map already carries."""
    axes.tick_params(labelleft=rows, labelbottom=columns)


def _edges(values: NDArray[np.float64] | None, count: int) -> tuple[float, float]:
    """Outer edges of the first and the last cell."""
    if values is None or count < 2:
        return (-0.5, count - 0.5) if values is None else (float(values[0]) - 0.5, float(values[0]) + 0.5)
    half = float(values[-1] - values[0]) / (count - 1) / 2
    return float(values[0]) - half, float(values[-1]) + half


def _label(axes: Axes, grid: Grid, most: int) -> None:
    if grid.longitude is not None:
        axes.xaxis.set_major_locator(FixedLocator(_round_degrees(_edges(grid.x.values, grid.width), most)))
        axes.xaxis.set_major_formatter(lambda value, _: longitude_text(value))
    elif grid.x.values is not None:
        axes.xaxis.set_major_locator(MaxNLocator(most))
    else:
        axes.xaxis.set_major_locator(NullLocator())
    if grid.latitude is not None:
        axes.yaxis.set_major_locator(FixedLocator(_round_degrees(_edges(grid.y.values, grid.height), 3)))
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
