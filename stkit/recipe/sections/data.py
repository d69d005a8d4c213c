"""The ``data:`` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from stkit.plugin.config import ComponentConfig, Config
from stkit.recipe.component import Component

DatasetChoice = Annotated[ComponentConfig, Component("datasets")]


class SplitConfig(Config):
    """Which part of the record is for what. Windows lie wholly inside one part."""

    train: float | str = 0.7
    """A share of the record, or an inclusive span ``"2006-04..2008-12"``."""
    validation: float | str = 0.15
    """For choosing and stopping; never the test part."""
    test: float | str | None = 0.15
    """For the scores, at the end only; null: all of ``test_dataset``."""
    gap_steps: int = Field(1, ge=0)
    """Time steps left out between two parts."""


class RolesConfig(Config):
    """What each variable is to the model. One that is not named is part of the state: known in the past, forecast, and
    fed back."""

    forcing: tuple[str, ...] = ()
    """Known in the past and in the future, and never forecast: winds of a weather forecast, a tide."""
    static: tuple[str, ...] = ()
    """The same at all times, and never forecast: a land mask, a depth."""
    target: tuple[str, ...] = ()
    """Forecast, and never given to the model."""


class VariableTransformConfig(Config):
    """Applied in this order going in, undone in reverse order coming out. Fitted on the training part only."""

    log_offset: float | None = Field(None, gt=0)
    """Natural logarithm of ``(value + log_offset) / log_offset``, for rain (unit: the field's); null: none."""
    anomaly: Literal["none", "month", "day_of_year"] = "none"
    """Subtract a climatology: a mean for each calendar month, or smooth harmonics of the day of the year."""
    standardise: Literal["none", "variable", "cell"] = "variable"
    """Zero mean and unit deviation, for each variable over the whole field or for each grid cell."""


class TransformConfig(VariableTransformConfig):
    """Applied in this order going in, undone in reverse order coming out. Fitted on the training part only. A static
    variable has no anomaly, and is standardised over its cells."""

    variables: dict[str, VariableTransformConfig] = {}
    """Other transforms for the variables named, instead of those above: ``{rain: {log_offset: 0.1}}``."""

    def of(self, variable: str) -> VariableTransformConfig:
        """The transforms of one variable."""
        return self.variables.get(variable, self)


class CropConfig(Config):
    """Random crops of the training windows, in grid cells."""

    height: int = Field(ge=1)
    width: int = Field(ge=1)
    turns: bool = False
    """Turn and mirror each crop at random, all its frames alike, so that no direction of motion is learned by heart:
    for fields that know no north, such as rain. Not for vectors such as wind. The crops are squares."""

    @model_validator(mode="after")
    def _square(self) -> Self:
        if self.turns and self.height != self.width:
            raise ValueError(f"turns are of squares: height {self.height} and width {self.width} should be the same")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A recipe without turns keeps its hash, and so its runs, from before there were any.
        written: dict[str, Any] = handler(self)
        return {name: value for name, value in written.items() if value is not False}


class DataConfig(Config):
    """Which fields, cut into which windows."""

    dataset: DatasetChoice
    """The source of fields."""
    test_dataset: DatasetChoice | None = None
    """Another record of the same variables, all of which is the test part: another event, another radar, another sea.
    It goes with ``split.test: null``. Where its grid is another, nothing that was fitted may belong to cells. Null: the
    test part is cut from ``dataset``."""
    input_steps: int = Field(ge=1)
    """Frames the model is given."""
    horizon: int = Field(ge=1)
    """Frames it forecasts."""
    window_stride: int = Field(1, ge=1)
    """Time steps between the starts of consecutive windows."""
    roles: RolesConfig = RolesConfig()
    split: SplitConfig = SplitConfig()
    transforms: TransformConfig = TransformConfig()
    extra_inputs: tuple[Literal["calendar", "mask", "latitude"], ...] = ()
    """Known inputs that are in no file: ``calendar``, sine and cosine of the season (2 channels); ``mask``, 1 on valid
    cells; ``latitude``, its sine."""
    departure_from: Literal["none", "persistence", "climatology", "damped_anomaly", "extrapolation"] = "none"
    """Forecast the departure from this baseline, so that a head that starts at zero starts at the baseline."""
    crop: CropConfig | None = None
    """Random crops in training; null: whole fields."""
