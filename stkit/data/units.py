"""Units as they are written in files. Imports no torch."""

from __future__ import annotations

import re

_WRITTEN = {
    "h": ("hour", "hours", "hr", "hrs"),
    "s": ("sec", "second", "seconds"),
    "m": ("meter", "meters", "metre", "metres"),
    "degC": ("degc", "deg_c", "degreec", "degree_c", "degrees_c", "degree_celsius", "degrees_celsius", "celsius", "°c"),
    "K": ("kelvin", "degk", "deg_k", "degree_k", "degrees_k"),
}
_SPELLINGS = {spelling: unit for unit, spellings in _WRITTEN.items() for spelling in spellings}
_FACTOR = re.compile(r"(?P<unit>[^\W\d]+|°\w*|%)\^?(?P<power>[+-]?\d+)?")


def same_units(one: str, other: str) -> bool:
    """Whether two units are the same one, however their powers are written: ``mm/h``, ``mm h-1``, ``mm hr^-1``.

    Nothing is converted: ``m s-1`` and ``km h-1`` are two units.
    """
    return _factors(one) == _factors(other)


def _factors(units: str) -> dict[str, int] | str:
    """The power of each unit; the text itself where it is no product of powers."""
    powers: dict[str, int] = {}
    for number, side in enumerate(units.replace("**", "^").split("/")):
        for text in re.split(r"[\s.·*]+", side.strip()):
            factor = _FACTOR.fullmatch(text)
            if factor is None:
                return units.strip()
            unit = _SPELLINGS.get(factor["unit"].lower(), factor["unit"])
            power = int(factor["power"] or 1)
            powers[unit] = powers.get(unit, 0) + (-power if number else power)
    return powers
