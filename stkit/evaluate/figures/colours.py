"""Colours of what is mapped: perceptually uniform, and told apart with every common colour vision deficiency.

The diverging maps are made in CIELAB: lightness falls from 96 in the middle to 33 at either end in equal steps, and
both arms have one hue each and the same chroma, so that equal departures to either side look equally strong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

import matplotlib
import numpy as np
from matplotlib.colors import BoundaryNorm, Colormap, LinearSegmentedColormap, ListedColormap, Normalize
from numpy.typing import NDArray

from stkit.data.source import Variable

FIELD_MAP = "viridis"
"""Perceptually uniform, readable with every common colour vision deficiency and in grey."""

_MIDDLE = "#f3f3f3"
_BLUE = ("#d1def6", "#adc9f5", "#85b4f5", "#57a0f0", "#278ce1", "#0778c5", "#0764a5", "#065086")
_RED = ("#f7d6ce", "#f5b9ab", "#f09c89", "#e6806b", "#d36953", "#b85744", "#9a4838", "#7d392c")
_BROWN = ("#efdac6", "#e5c19b", "#d7a977", "#c4935c", "#ab804e", "#926d42", "#7a5a36", "#63492b")
_TEAL = ("#bfe5e1", "#89d4ce", "#52c3bb", "#17aea7", "#069891", "#08827c", "#086c67", "#085753")

ERROR_MAP = LinearSegmentedColormap.from_list("error", [*_BLUE[::-1], _MIDDLE, *_RED])
"""Below the truth in blue, above it in red."""
SKILL_MAP = LinearSegmentedColormap.from_list("skill", [*_BROWN[::-1], _MIDDLE, *_TEAL])
"""Worse in brown, better in teal: other hues than those of an error, so that nobody reads one as the other."""

RAIN_LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""mm/h; what is below the first is dry."""
REFLECTIVITY_LEVELS = (7.0, 12.0, 17.0, 22.0, 27.0, 32.0, 37.0, 42.0, 47.0, 52.0)
"""dBZ; 7 is about 0.1 mm/h (Marshall and Palmer 1948)."""
DRY = "#eef1f4"
_RAIN_UNIT = re.compile(r"mm\s*(/\s*(h|hr|hour)|\s(h|hr|hour)\^?-1)")


@dataclass(frozen=True)
class Scale:
    """What the colours of a map stand for."""

    low: float
    high: float
    extend: str
    """``neither``, ``min``, ``max`` or ``both``: whether values lie outside."""
    levels: tuple[float, ...] = ()
    """Where colours change; empty where they change everywhere."""
    colours: str | Colormap = field(default=FIELD_MAP)

    @property
    def colormap(self) -> Colormap:
        """The colours."""
        return matplotlib.colormaps[self.colours] if isinstance(self.colours, str) else self.colours

    @property
    def norm(self) -> Normalize:
        """From values to the colours."""
        if self.levels:
            return BoundaryNorm(self.levels, self.colormap.N)
        return Normalize(self.low, self.high)

    @staticmethod
    def of_variable(variable: Variable, truth: NDArray[np.floating], *others: NDArray[np.floating]) -> Scale:
        """Fixed levels for rain and for radar reflectivity, the range of the truth for everything else."""
        levels = rain_levels(variable)
        if levels:
            above = _extend((truth, *others), -np.inf, levels[-1]) == "max"
            extend = "both" if above else "min"  # the lower end shows what dry looks like
            return Scale(levels[0], levels[-1], extend, levels, rain_colours(len(levels)))
        return Scale.of_field(truth, *others)

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
            room = 0.5 * max(1.0, abs(low))  # half a unit would be lost beside a large number
            low, high = low - room, low + room
        return Scale(low, high, _extend((truth, *others), low, high))

    @staticmethod
    def of_error(error: NDArray[np.floating]) -> Scale:
        """The same on both sides of zero."""
        known = np.abs(error[np.isfinite(error)])
        high = float(np.percentile(known, 99)) if known.size else 1.0
        high = high if high > 0 else 1.0
        return Scale(-high, high, _extend((error,), -high, high), colours=ERROR_MAP)

    @staticmethod
    def of_skill(skill: NDArray[np.floating]) -> Scale:
        """From -1 to 1: below -1 the error is more than twice as large, and how much more is not shown."""
        return Scale(-1.0, 1.0, _extend((skill,), -1.0, 1.0), colours=SKILL_MAP)


def rain_levels(variable: Variable) -> tuple[float, ...]:
    """Levels of a rain rate in mm/h or of a reflectivity in dBZ; none for another variable."""
    units = variable.units.strip()
    if units.lower() == "dbz":
        return REFLECTIVITY_LEVELS
    return RAIN_LEVELS if _RAIN_UNIT.fullmatch(units) else ()


@cache
def rain_colours(levels: int) -> Colormap:
    """From pale yellow for drizzle to dark violet, a colour for each interval between ``levels``; dry is grey."""
    shades = matplotlib.colormaps[FIELD_MAP](np.linspace(0.97, 0.0, levels))
    colours = ListedColormap(shades[:-1], name=f"rain{levels}")
    return colours.with_extremes(under=DRY, over=shades[-1])


def _extend(fields: tuple[NDArray[np.floating], ...], low: float, high: float) -> str:
    below = any(bool((field[np.isfinite(field)] < low).any()) for field in fields)
    above = any(bool((field[np.isfinite(field)] > high).any()) for field in fields)
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]
