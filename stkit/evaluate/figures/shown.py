"""A forecast that is shown: what is drawn as maps and as an animation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stkit.data.source import Grid, Variable
from stkit.evaluate.figures.coast import Line, coast
from stkit.evaluate.words import steps_text


@dataclass(frozen=True)
class Shown:
    """One window of the test part with its forecast, in physical units.

    Axes: ``T`` input steps, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
    """

    context: NDArray[np.floating]
    """``T C H W``: what the model was given."""
    truth: NDArray[np.floating]
    """``L C H W``, NaN where missing."""
    forecast: NDArray[np.floating]
    """``L C H W``, NaN where missing."""
    variables: tuple[Variable, ...]
    grid: Grid
    lead_unit: str
    """One step in words."""
    times: tuple[str, ...] | None
    """``T + L`` times as text; None where there are none."""
    number: int
    """Which window of the test part, from 1."""

    def coast(self, variable: int) -> list[Line]:
        """Lines of the coast for maps of a variable, in the coordinates of the grid's axes."""
        fields = np.concatenate([self.context, self.truth])[:, variable]
        return coast(self.grid, np.isfinite(fields).any(axis=0))

    def lead_text(self, lead: int) -> str:
        """``2 months`` for the lead of index 1, with its time where there is one."""
        words = steps_text(lead + 1, self.lead_unit)
        return words if self.times is None else f"{words} · {self.times[len(self.context) + lead]}"
