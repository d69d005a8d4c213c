from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stkit.data.box import Box
from stkit.data.calendar import month_index, year_phase
from stkit.data.record import Record
from stkit.errors import DataError
from stkit.evaluate.climatology import Climatology, suitable_kind
from tests.data.fields import days, months, seasonal, seeds, with_land


@given(seed=seeds, missing=st.sampled_from([0.0, 0.3]))
def test_by_month_it_is_the_mean_of_the_values_that_are_there(seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    fields = with_land(seasonal(48, seed=seed))
    fields[rng.uniform(size=fields.shape) < missing] = np.nan
    times = months(48, "2000-04")
    climatology = Climatology.fit(Record.of(fields, times), "month")
    assert climatology.table.shape == (12, 1, 4, 5)
    for month in range(12):
        chosen = torch.from_numpy(fields[month_index(times) == month])
        expected = torch.nanmean(chosen, 0)
        torch.testing.assert_close(climatology.table[month], expected, equal_nan=True, rtol=1e-5, atol=1e-5)


@given(seed=seeds, missing=st.sampled_from([0.0, 0.3]))
def test_by_day_of_year_it_finds_smooth_harmonics(seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    times = days(800)
    phase = 2 * np.pi * year_phase(times)[:, None, None, None]
    amplitude = rng.normal(size=(5, 1, 2, 3))
    truth = (
        20
        + amplitude[0] * np.cos(phase)
        + amplitude[1] * np.sin(phase)
        + amplitude[2] * np.cos(2 * phase)
        + amplitude[3] * np.sin(3 * phase)
    )
    fields = truth.astype(np.float32)
    fields[rng.uniform(size=fields.shape) < missing] = np.nan
    fields[:, :, 0, 0] = np.nan
    climatology = Climatology.fit(Record.of(fields, times), "day_of_year")
    found = climatology.at(times, len(times))
    assert found[..., 0, 0].isnan().all()
    expected = torch.from_numpy(truth.astype(np.float32))
    torch.testing.assert_close(found[..., 1, :], expected[..., 1, :], rtol=0, atol=1e-3)


def test_a_cell_with_values_in_one_season_gets_no_wild_waves() -> None:
    times = days(1100)
    fields = np.full((1100, 1, 1, 1), np.nan, np.float32)
    summer = (month_index(times) >= 5) & (month_index(times) <= 7)
    fields[summer] = 3.0 + np.random.default_rng(0).normal(size=fields[summer].shape) * 0.01
    climatology = Climatology.fit(Record.of(fields, times), "day_of_year")
    inside = climatology.at(times, 1100)[torch.from_numpy(summer)]
    torch.testing.assert_close(inside, torch.full_like(inside, 3.0), rtol=0, atol=0.05)


def test_the_mean_needs_no_calendar() -> None:
    fields = with_land(seasonal(20))
    climatology = Climatology.fit(Record.of(fields), "mean")
    expected = torch.from_numpy(fields).nanmean(0)
    torch.testing.assert_close(climatology.at(None, 3), expected.expand(3, 1, 4, 5), equal_nan=True)


@pytest.mark.parametrize("kind", ["month", "day_of_year", "mean"])
def test_a_batch_of_times_and_a_box(kind: str) -> None:
    climatology = Climatology.fit(Record.of(seasonal(48), months(48)), kind)
    times = months(30)[np.arange(6)[:, None] + np.arange(4)].reshape(2, 3, 4)
    whole = climatology.at(times, 4)
    assert whole.shape == (2, 3, 4, 1, 4, 5)
    torch.testing.assert_close(whole[1, 2], climatology.at(times[1, 2], 4))
    torch.testing.assert_close(climatology.at(times, 4, Box(1, 2, 2, 3)), whole[..., 1:3, 2:5])


def test_which_one_suits() -> None:
    assert suitable_kind(months(24)) == "month"
    assert suitable_kind(months(11)) == "mean"
    assert suitable_kind(days(700)) == "day_of_year"
    assert suitable_kind(days(100)) == "mean"
    assert suitable_kind(None) == "mean"
    assert suitable_kind(months(1)) == "mean"


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"lacks Oct, Nov, Dec \(training has 9 steps\)"):
        Climatology.fit(Record.of(seasonal(9), months(9)), "month")
    with pytest.raises(DataError, match="about a year or more in the training part, got 99 days"):
        Climatology.fit(Record.of(seasonal(100), days(100)), "day_of_year")
    with pytest.raises(DataError, match="needs times, but the fields have none"):
        Climatology.fit(Record.of(seasonal(100)), "month")
    with pytest.raises(DataError, match="goes by month, but the fields have no times"):
        Climatology.fit(Record.of(seasonal(48), months(48)), "month").at(None, 2)
