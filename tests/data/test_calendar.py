from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stkit.data.calendar import breaks, check_times, following, month_index, step_name, typical_step, year_phase
from stkit.errors import DataError
from tests.data.fields import days, months


def test_months_are_regular() -> None:
    times = months(48)
    assert step_name(times) == "month"
    assert breaks(times).size == 0
    assert month_index(times)[:13].tolist() == [*range(12), 0]


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (np.timedelta64(5, "m"), "5 min"),
        (np.timedelta64(6, "h"), "6 h"),
        (np.timedelta64(1, "D"), "day"),
        (np.timedelta64(5, "D"), "5 days"),
        (np.timedelta64(365, "D"), "year"),
        (np.timedelta64(30, "s"), "30 s"),
    ],
)
def test_step_in_words(step: np.timedelta64, name: str) -> None:
    assert step_name(np.datetime64("2001-01-01", "ns") + np.arange(4) * step) == name


def test_no_time_is_counted_in_steps() -> None:
    assert step_name(None) == "step"
    assert step_name(months(1)) == "step"


@given(first=st.dates(min_value=np.datetime64("1900-01-01").item(), max_value=np.datetime64("2100-01-01").item()))
def test_phase_of_the_year(first: object) -> None:
    phase = year_phase(days(400, str(first)))
    assert ((phase >= 0) & (phase < 1)).all()
    rises = np.diff(phase) > 0
    assert rises.sum() >= len(rises) - 2, "it falls at New Year only"


@given(start=st.integers(0, 200), count=st.integers(1, 30))
def test_what_follows_a_monthly_record_is_its_continuation(start: int, count: int) -> None:
    times = months(start + 2 + count)
    context, expected = times[: start + 2], times[start + 2 :]
    step = typical_step(months(60))
    assert step is not None
    np.testing.assert_array_equal(following(context[-1], count, step), expected)


def test_what_follows_the_last_of_january_is_the_last_of_february() -> None:
    ahead = following(np.datetime64("2003-01-31T12", "ns"), 3, np.timedelta64(30, "D"))
    assert [str(time)[:13] for time in ahead] == ["2003-02-28T12", "2003-03-31T12", "2003-04-30T12"]


def test_what_follows_a_batch_of_contexts() -> None:
    last = days(6).reshape(2, 3)
    ahead = following(last, 4, np.timedelta64(1, "D"))
    assert ahead.shape == (2, 3, 4)
    np.testing.assert_array_equal(ahead[1, 2], days(10)[6:])


@pytest.mark.parametrize(
    ("order", "message"), [([0, 1, 1, 2], "comes twice"), ([0, 2, 1, 3], r"2001-01-02 \(number 2, from 0\) comes out")]
)
def test_times_that_do_not_rise(order: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_times(days(4)[order], "file.nc")


def test_a_gap_is_told_with_its_place() -> None:
    times = days(10)[[0, 1, 2, 5, 6, 7]]
    with pytest.raises(DataError, match=r"2001-01-03 is followed by 2001-01-06 .*allow_gaps"):
        check_times(times, "file.nc")
    check_times(times, "file.nc", allow_gaps=True)
    assert breaks(times).tolist() == [2]
