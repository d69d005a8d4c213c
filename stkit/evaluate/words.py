"""Numbers, units and lead times as a person writes them. Imports no torch."""

from __future__ import annotations

import re

_UNIT_WORDS = {"degC": "°C", "celsius": "°C", "Celsius": "°C", "degree_Celsius": "°C", "degrees_Celsius": "°C"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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


def score_unit(template: str, units: str) -> str:
    """The unit of a score as a person writes it, nothing where there is none.

    Args:
        template: the score's unit, where ``{u}`` stands for the field's.
        units: the field's.
    """
    field = unit_text(units)
    if "{u}" in template and not field:
        return ""
    compound = re.search(r"[\s/⁻]", field)
    return unit_text(template.replace("({u})", f"({field})" if compound else field).replace("{u}", field))


def signed_text(value: float | None) -> str:
    """Two decimals with a sign."""
    if value is None:
        return "–"
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def percent(share: float) -> str:
    """``73.6 %``; 100 only where it is all of it."""
    shown = f"{100 * share:.1f}"
    if shown == "100.0" and share < 1:
        shown = "99.9"
    return f"{shown.removesuffix('.0')} %"
