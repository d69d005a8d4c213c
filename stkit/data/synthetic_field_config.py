"""Configuration of the data set ``synthetic_field``. Imports no torch."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stkit.plugin.config import DatasetConfig

_STEPS_A_YEAR = {"month": 12.0, "day": 365.25, "hour": 8766.0}
_FIRST_YEAR, _LAST_YEAR = 1700, 2250
_MOST_BYTES = 2 * 2**30
_LARGEST_LOGARITHM = 20.0


class SyntheticFieldConfig(DatasetConfig):
    """A field that is carried along, spread, damped, forced and observed by a law that is known exactly.

    The anomaly ``a`` obeys, in each step, ``a_t = P a_{t-1} + s_t f_t``: ``P`` moves it by the velocity, spreads it by
    the diffusion and damps it by the memory; ``f`` is a random forcing of standard deviation 1. Observed is
    ``mean + trend t + season(t) + a_t + noise``, in degrees Celsius, on the cells that are no land.
    """

    optimum_known: ClassVar[bool] = True

    height: int = Field(16, ge=2)
    """Rows, in grid cells."""
    width: int = Field(24, ge=2)
    """Columns, in grid cells."""
    steps: int = Field(600, ge=2)
    """Length of the record, in time steps."""
    step: Literal["month", "day", "hour"] = "month"
    """One time step by the calendar."""
    first: str = "1950-01-01"
    """Date of the first step."""
    seed: int = Field(0, ge=0)
    """Of everything random but the land. The seed of the recipe does not act here: all its runs see one field."""
    border: Literal["periodic", "open"] = "periodic"
    """``periodic``: what leaves on one side comes in on the other. ``open``: the grid is a window on a sea of twice its
    height and width, so that what comes in is not known before."""
    velocity_x: float = 0.0
    """Towards higher columns, in grid cells per step."""
    velocity_y: float = 0.0
    """Towards higher rows, in grid cells per step."""
    diffusion: float = Field(0.0, ge=0)
    """Diffusivity, in squared grid cells per step: it damps small scales first."""
    memory_steps: float | None = Field(12.0, gt=0)
    """Time in which an anomaly of any scale falls to 1/e, in steps; null: never, so that what is left undamped wanders
    for ever (with no diffusion every cell is a random walk)."""
    forcing_std: float = Field(0.3, ge=0)
    """Standard deviation of the random forcing, in degC per step."""
    forcing_slope: float = Field(2.0, ge=0, le=6)
    """Spatial spectrum of the forcing: its power falls with the wave number to minus this; 0: white, 2 or 3: red. The
    mean over the grid has the power of the longest wave."""
    forcing_memory_steps: float = Field(0.0, ge=0)
    """Time in which the correlation of the forcing falls to 1/e, in steps; 0: white in time. With a memory the change
    of the field goes on for a while, and can be forecast."""
    noise_std: float = Field(0.1, ge=0)
    """Standard deviation of the error of observation, white in space and time, in degC."""
    mean: float = 15.0
    """Level of the field at the first step, in degC."""
    trend_per_step: float = 0.0
    """In degC per step, the same in every cell."""
    season_amplitude: float = Field(0.0, ge=0)
    """Half the distance of crest and trough, in degC, the same in every cell."""
    season_period_steps: float = Field(12.0, ge=2)
    """In steps; the first step is a crest."""
    variance_drift_per_step: float = 0.0
    """Growth of the variance of forcing and noise, as the change of its natural logarithm per step: 0.002 makes it
    3.3 times as large in 600 steps; a negative one makes the field calmer."""
    land_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the grid that is land: smooth patches. The field goes on beneath, unseen."""
    land_seed: int = Field(0, ge=0)
    """Of the shape of the land."""

    @field_validator("first")
    @classmethod
    def _a_date(cls, value: str) -> str:
        try:
            date = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("should be a date such as 1950-01-01, or 1950-01-01T06:00") from None
        if date.tzinfo is not None:
            raise ValueError("should be a date without a time zone, such as 1950-01-01T06:00")
        if not _FIRST_YEAR <= date.year <= _LAST_YEAR:
            raise ValueError(f"should lie in the years {_FIRST_YEAR} to {_LAST_YEAR}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> SyntheticFieldConfig:
        last = int(self.first[:4]) + self.steps / _STEPS_A_YEAR[self.step]
        if last > _LAST_YEAR:
            raise ValueError(
                f"{self.steps} steps of a {self.step} from {self.first} end after {_LAST_YEAR}: take fewer"
            )
        size = 4 * self.steps * self.sea_height * self.sea_width
        if size > _MOST_BYTES:
            raise ValueError(
                f"the record would take {size / 2**30:.1f} GB of memory, 2 GB is the most: take fewer steps or cells"
            )
        if abs(self.variance_drift_per_step) * self.steps > _LARGEST_LOGARITHM:
            raise ValueError(
                f"over {self.steps} steps a variance_drift_per_step of {self.variance_drift_per_step:g} changes the "
                f"variance by a factor of e^{self.variance_drift_per_step * self.steps:.0f}: the most is "
                f"e^{_LARGEST_LOGARITHM:.0f} up or down"
            )
        if round(self.land_fraction * self.height * self.width) >= self.height * self.width:
            raise ValueError(
                f"a land_fraction of {self.land_fraction:g} leaves no sea on {self.height} x {self.width} cells"
            )
        return self

    @property
    def sea_height(self) -> int:
        """Rows of the periodic sea that the grid is a part or all of."""
        return self.height * (2 if self.border == "open" else 1)

    @property
    def sea_width(self) -> int:
        """Columns of the periodic sea that the grid is a part or all of."""
        return self.width * (2 if self.border == "open" else 1)
