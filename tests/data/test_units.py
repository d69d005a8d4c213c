"""Units are the same however they are written."""

from __future__ import annotations

import pytest

from stkit.data.units import same_units


@pytest.mark.parametrize("text", ["mm/h", "mm h-1", "mm hr-1", "mm h^-1", "mm h**-1", "mm.h-1", "mm/hour", "h-1 mm"])
def test_the_ways_to_write_a_rain_rate(text: str) -> None:
    assert same_units("mm/h", text)


@pytest.mark.parametrize("text", ["degC", "celsius", "degree_Celsius", "degrees_C", "°C", "deg_C"])
def test_the_ways_to_write_a_temperature(text: str) -> None:
    assert same_units("degC", text)
    assert not same_units("K", text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("mm/h", "mm"), ("mm/h", "mm/s"), ("mm/h", "m/h"), ("mm/h", "dBZ"), ("mm/h", "1"), ("m s-2", "m s-1"), ("", "K")],
)
def test_units_that_differ(one: str, other: str) -> None:
    assert not same_units(one, other)
    assert not same_units(other, one)


@pytest.mark.parametrize("text", ["1", "", "%", "0.1 mm", "log10(mg m-3)", "degC", "°C"])
def test_whatever_is_no_product_of_powers_is_the_same_as_itself(text: str) -> None:
    assert same_units(text, text)
