"""The season of a record: its period by the calendar, its share of the variance, and the series without it.

Axes: ``T`` time, ``D`` cells, ``K`` terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stkit.data.calendar import Times, is_monthly, typical_step
from stkit.errors import UsageError

_FEWEST_SEASONS = 2.0
_WAVES, _WAVES_OF_SHORT = 3, 6
"""Waves that a season is made of; a period of up to 12 steps has all that it can have."""
_YEAR, _DAY = np.timedelta64(31_556_952, "s"), np.timedelta64(86_400, "s")


@dataclass(frozen=True)
class Season:
    """Something that comes again.

    Attributes:
        name: ``year``, ``day``, or the period in steps.
        period: in time steps.
    """

    name: str
    period: float

    @property
    def waves(self) -> int:
        """Cosines and sines that it is made of."""
        most = _WAVES_OF_SHORT if self.period <= 2 * _WAVES_OF_SHORT else _WAVES
        return max(1, min(most, int(self.period / 2)))

    def terms(self, steps: int) -> NDArray[np.float64]:
        """``T K``: its waves; the sine of a wave of two steps, which is zero, is left out."""
        t = np.arange(steps)
        found = []
        for number in range(1, self.waves + 1):
            phase = 2 * np.pi * number * t / self.period
            found.append(np.cos(phase))
            if not np.isclose(2 * number, self.period):
                found.append(np.sin(phase))
        return np.stack(found, axis=1)


@dataclass(frozen=True)
class Split:
    """A record in parts that add up.

    Attributes:
        seasons: those that were taken out; none where the record is too short for any.
        note: why a season could not be looked for; empty where it was.
        without_season: ``T D``, level, trend and what is left.
        anomalies: ``T D``, without season, trend and level.
        share: ``D``, the season's share of the variance about the trend, adjusted for the number of its terms.
        overall: the same for the sum over all cells.
        trend: ``D``, per step.
    """

    seasons: tuple[Season, ...]
    note: str
    without_season: NDArray[np.float64]
    anomalies: NDArray[np.float64]
    share: NDArray[np.float64]
    overall: float
    trend: NDArray[np.float64]


def seasons_of(times: Times | None, steps: int, period: float | None, where: str) -> tuple[tuple[Season, ...], str]:
    """The seasons that a record can have, and a note where one is too long for it.

    Args:
        times: of the record; None where it only counts steps.
        steps: its length.
        period: what the user says, in steps; None: the year, and the day for steps of at most six hours.
        where: what messages call the data.

    Raises:
        UsageError: if the user's season does not fit into the record twice, or is no season.
    """
    if period is not None:
        if not period >= 2:
            raise UsageError(f"--season {period:g}: a season has two time steps or more")
        if steps < _FEWEST_SEASONS * period:
            raise UsageError(
                f"--season {period:g}: the record of {where} has {steps} time steps, less than two seasons of "
                f"{period:g}: its share cannot be told from a trend"
            )
        return (Season(f"{period:g} steps", period),), ""
    step = None if times is None else typical_step(times)
    if step is None:
        return (), "the record has no times, so no season was looked for; --season STEPS names one"
    found: list[Season] = []
    note = ""
    year = 12.0 if is_monthly(step) else float(_YEAR / step)
    if year >= 2:
        if steps >= _FEWEST_SEASONS * year:
            found.append(Season("year", year))
        else:
            note = f"the record spans {steps / year:.1f} years: too short to tell the season from a trend"
    day = float(_DAY / step)
    if day >= 4 and steps >= _FEWEST_SEASONS * day:
        found.append(Season("day", day))
    return tuple(found), note


def split(values: NDArray[np.float64], seasons: tuple[Season, ...], note: str = "") -> Split:
    """Take level, trend and seasons out of each cell by least squares, all at once.

    Args:
        values: ``T D``.
        seasons: what to take out.
        note: handed on.
    """
    steps = len(values)
    line = np.stack([np.ones(steps), np.linspace(-1.0, 1.0, steps)], axis=1)
    waves = np.concatenate([season.terms(steps) for season in seasons], axis=1) if seasons else np.zeros((steps, 0))
    terms = np.concatenate([line, waves], axis=1)
    slopes, *_ = np.linalg.lstsq(terms, values, rcond=None)
    left = values - terms @ slopes
    about_line = values - line @ np.linalg.lstsq(line, values, rcond=None)[0]
    before = (about_line**2).sum(axis=0) / (steps - 2)
    after = (left**2).sum(axis=0) / max(steps - terms.shape[1], 1)
    return Split(
        seasons=seasons,
        note=note,
        without_season=values - waves @ slopes[2:],
        anomalies=left,
        share=_share(after, before),
        overall=float(_share(after.sum(keepdims=True), before.sum(keepdims=True))[0]),
        trend=slopes[1] * 2.0 / (steps - 1),
    )


def _share(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(1.0 - np.divide(after, before, out=np.ones_like(after), where=before > 0), 0.0, 1.0))
