"""Configurations of the built-in modules for non-stationary fields. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from stkit.plugin.config import NonStationaryConfig


class DifferencingConfig(NonStationaryConfig):
    """Differences of the frames (Box and Jenkins 1970): from step to step, from season to season, or both."""

    order: int = Field(1, ge=0)
    """How often the difference to the step before is taken. 1 takes a level away, 2 a linear trend, too."""
    season: int | None = Field(None, ge=2)
    """Time steps of a season, whose difference is taken once: 12 for months; null: none."""

    @model_validator(mode="after")
    def _something_is_differenced(self) -> DifferencingConfig:
        if not self.order and self.season is None:
            raise ValueError("differencing of order 0 without a season changes nothing; give one of them")
        return self

    @property
    def reach(self) -> int:
        """Frames back that a difference looks."""
        return self.order + (self.season or 0)

    def problems(self, *, input_steps: int) -> Iterable[str]:
        """There must be a difference to see."""
        if input_steps <= self.reach:
            season = "" if self.season is None else f" with a season of {self.season} steps"
            yield (
                f"differences of order {self.order}{season} look back {_steps(self.reach)}, and the model is given "
                f"{_steps(input_steps)}; set data.input_steps to at least {self.reach + 1}, or take less"
            )


class ReversibleNormConfig(NonStationaryConfig):
    """Reversible instance normalisation (Kim et al. 2022): each sequence by its own mean and deviation."""

    level: Literal["channel", "cell"] = "channel"
    """Which mean is taken away: that of a variable over cells and time, or that of each of its cells over time. The
    deviation is one number for each variable, about that mean."""
    affine: bool = True
    """Then multiply and shift each variable by learned numbers."""
    smallest_deviation: float = Field(1e-3, gt=0)
    """A sequence that deviates less is divided by this; in the units the model sees."""

    def problems(self, *, input_steps: int) -> Iterable[str]:
        """There must be something that deviates."""
        if self.level == "cell" and input_steps < 2:
            yield "the mean of a cell over one step is the step itself; set data.input_steps to at least 2"


class TrendSeasonConfig(NonStationaryConfig):
    """A trend and a season are fitted to each cell by least squares and carried on; the network sees the rest."""

    trend: bool = True
    """A straight line; false: a constant level."""
    season: int | None = Field(None, ge=2)
    """Time steps of a season: 12 for months; null: none."""
    harmonics: int | None = Field(None, ge=1)
    """Waves that make up the season, at most half its steps; null: two, or one where the season is shorter than four
    steps."""
    window: int | None = Field(None, ge=2)
    """Newest frames that are fitted to; null: two seasons, or 12 frames where there is none."""

    @model_validator(mode="after")
    def _terms_fit(self) -> TrendSeasonConfig:
        if self.season is None and self.harmonics is not None:
            raise ValueError(f"{self.harmonics} harmonics of no season; give the season, or leave them out")
        if self.season is not None and 2 * self.waves > self.season:
            raise ValueError(f"a season of {self.season} steps has at most {self.season // 2} harmonics")
        if self.frames < self.needed:
            raise ValueError(f"a window of {self.frames} frames is too short; the fit needs {self.needed}")
        return self

    @property
    def waves(self) -> int:
        """Harmonics of the season; 0 where there is none."""
        if self.season is None:
            return 0
        return min(2, self.season // 2) if self.harmonics is None else self.harmonics

    @property
    def terms(self) -> int:
        """Numbers that are fitted to each cell. The sine of the shortest possible wave is zero at every step."""
        return 1 + self.trend + 2 * self.waves - (2 * self.waves == self.season)

    @property
    def frames(self) -> int:
        """Frames that are fitted to."""
        return self.window or (2 * self.season if self.season else 12)

    @property
    def needed(self) -> int:
        """Frames without which nothing can be fitted: as many as terms, and a whole season."""
        return max(self.terms, self.season or 0)

    def problems(self, *, input_steps: int) -> Iterable[str]:
        """The fit must be there before the last frame, which then shows how far it lies from it."""
        least = self.needed + 1
        if input_steps < least:
            season = "" if self.season is None else f" and a season of {self.season} steps"
            yield (
                f"a fit of {self.terms} terms{season} needs at least {_steps(least)}, and the model is given "
                f"{_steps(input_steps)}; set data.input_steps to {least} or more, or take less"
            )


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"
