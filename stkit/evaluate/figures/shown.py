"""A forecast that is shown: what is drawn as maps and as an animation."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stkit.data.source import Grid, Variable

_UNIT_WORDS = {"degC": "°C", "celsius": "°C", "Celsius": "°C", "degree_Celsius": "°C", "degrees_Celsius": "°C"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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

    def lead_text(self, lead: int) -> str:
        """``2 months`` for the lead of index 1, with its time where there is one."""
        words = steps_text(lead + 1, self.lead_unit)
        return words if self.times is None else f"{words} · {self.times[len(self.context) + lead]}"


def steps_text(count: int, unit: str) -> str:
    """``3 months``; ``30 min`` for three steps of ``10 min``."""
    amount, _, of = unit.partition(" ")
    if of and amount.isdigit():
        return f"{count * int(amount)} {of}"
    return f"{count} {unit}" + ("s" if count != 1 else "")


def lead_axis(unit: str) -> str:
    """Label of an axis that counts lead times."""
    return f"lead time [{unit}s]" if " " not in unit else f"lead time [steps of {unit}]"


def with_unit(name: str, units: str) -> str:
    """``sst [°C]``; the name alone where the field has no unit."""
    pretty = unit_text(units)
    return f"{name} [{pretty}]" if pretty else name


def unit_text(units: str) -> str:
    """A unit as a person writes it: ``°C`` for ``degC``, ``m s⁻¹`` for ``m s-1``, nothing for ``1``."""
    if units.strip() in ("", "1"):
        return ""
    words = _UNIT_WORDS.get(units.strip(), units.strip())
    return re.sub(r"(?<=[A-Za-z)])\^?(-?\d)(?!\d)", lambda found: found.group(1).translate(_RAISED), words)
