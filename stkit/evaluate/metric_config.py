"""Configuration of the built-in scores. Imports no torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from stkit.plugin.config import MetricConfig

_PERCENTILE = r"p(\d{1,2}(?:\.\d+)?)"
Percentile = Annotated[str, Field(pattern=f"^{_PERCENTILE}$")]
Threshold = float | Percentile
Cells = Annotated[int, Field(ge=1)]


class FixedConfig(MetricConfig):
    """A score without options: its convention is fixed, and its name tells it."""


class ThresholdConfig(MetricConfig):
    """A score of an event: the field reaches a threshold. ``csi_1`` is its name for the threshold 1."""

    threshold: Threshold | tuple[Threshold, ...]
    """In the field's unit, or ``p90``: each cell's own 90th percentile of the training part's departures from its
    climatology, as for marine heatwaves. An event is a value at or above it. A list gives a score for each."""
    variable: str | None = None
    """The variable it is for; null: every one."""

    @field_validator("threshold")
    @classmethod
    def _some_and_distinct(cls, value: Any) -> Any:
        return distinct(value)

    def problems(self, variables: Sequence[str]) -> Iterable[str]:
        """The variable must be there."""
        if self.variable not in (None, *variables):
            yield f"{self.name} is for the variable {self.variable!r}; the data have {', '.join(variables)}"

    def scores(self) -> Mapping[str, MetricConfig]:
        """A score for each threshold."""
        return dict(self._each())

    def _each(self, **options: str) -> Iterator[tuple[str, MetricConfig]]:
        """Name and configuration for each combination of values.

        Args:
            options: fields besides the threshold, each with what stands before its value in the name.
        """
        fields = ("threshold", *options)
        first = [self.name] if self.variable is None else [self.name, self.variable]
        for values in itertools.product(*(several(getattr(self, field)) for field in fields)):
            words = [prefix + value_text(value) for prefix, value in zip(("", *options.values()), values, strict=True)]
            name = "_".join([*first, *words])
            yield name, self.model_copy(update=dict(zip(fields, values, strict=True)))


class FractionsConfig(ThresholdConfig):
    """A score of the share of events in a neighbourhood. ``fss_1_scale9`` is its name for 1 and 9 cells."""

    scale: Cells | tuple[Cells, ...]
    """Side of the square neighbourhood in cells, an odd number. A list gives a score for each."""

    @field_validator("scale")
    @classmethod
    def _odd(cls, value: Any) -> Any:
        even = [scale for scale in several(value) if scale % 2 == 0]
        if even:
            raise ValueError(f"a neighbourhood has a cell in its middle: its side is an odd number, not {even[0]}")
        return distinct(value)

    def scores(self) -> Mapping[str, MetricConfig]:
        """A score for each threshold and scale."""
        return dict(self._each(scale="scale"))


class PooledConfig(ThresholdConfig):
    """A score of the largest value in each block of cells. ``max_csi_1_pool4`` is its name for 1 and 4 cells."""

    pool: Cells | tuple[Cells, ...]
    """Side of the square blocks in cells. A list gives a score for each."""

    @field_validator("pool")
    @classmethod
    def _distinct(cls, value: Any) -> Any:
        return distinct(value)

    def scores(self) -> Mapping[str, MetricConfig]:
        """A score for each threshold and size."""
        return dict(self._each(pool="pool"))


def several(value: Any) -> tuple[Any, ...]:
    """A value, or the list of them that was given."""
    return value if isinstance(value, tuple) else (value,)


def distinct(value: Any) -> Any:
    """Refuse an empty list and a value that is given twice."""
    values = several(value)
    if not values:
        raise ValueError("should be a value or a list of some")
    for place, one in enumerate(values):
        if one in values[:place]:
            raise ValueError(f"{value_text(one)} is given twice")
    return value


def percentile(threshold: float | str) -> float | None:
    """90 for ``p90``; None for a threshold in the field's unit."""
    found = re.fullmatch(_PERCENTILE, threshold) if isinstance(threshold, str) else None
    return None if found is None else float(found[1])


def value_text(value: object) -> str:
    """A value as it stands in a score's name: ``1`` for 1.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)
