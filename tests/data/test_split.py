from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stkit.data.split import describe, split
from stkit.errors import DataError
from stkit.recipe.sections.data import SplitConfig
from tests.data.fields import months


@given(
    steps=st.integers(20, 2000),
    shares=st.tuples(st.floats(0.2, 0.6), st.floats(0.1, 0.2), st.floats(0.1, 0.2)),
    gap=st.integers(0, 3),
)
def test_shares_are_disjoint_in_order_and_a_gap_apart(steps: int, shares: tuple[float, float, float], gap: int) -> None:
    train, validation, test = shares
    spans = split(SplitConfig(train=train, validation=validation, test=test, gap_steps=gap), steps, None)
    assert spans["train"].start == 0
    assert spans["validation"].start == spans["train"].stop + gap
    assert spans["test"].start == spans["validation"].stop + gap
    assert spans["test"].stop <= steps
    usable = steps - 2 * gap
    for part, share in zip(spans, shares, strict=True):
        assert abs(spans[part].steps - share * usable) < 1 + 1e-6


@given(steps=st.integers(20, 500))
def test_shares_that_add_to_one_use_every_step(steps: int) -> None:
    spans = split(SplitConfig(gap_steps=1), steps, None)
    assert spans["test"].stop == steps
    assert sum(span.steps for span in spans.values()) == steps - 2


def test_dates_are_inclusive() -> None:
    times = months(60)
    chosen = SplitConfig(train="2000-01..2002-12", validation="2003-02..2003", test="2004-02-01..2004-12", gap_steps=1)
    spans = split(chosen, 60, times)
    assert [tuple(spans[part]) for part in ("train", "validation", "test")] == [(0, 36), (37, 48), (49, 60)]
    assert describe(spans, times)["train"] == {
        "start": 0,
        "stop": 36,
        "steps": 36,
        "first": "2000-01-16",
        "last": "2002-12-16",
    }


def test_the_training_part_may_come_last() -> None:
    chosen = SplitConfig(train="2003..2004", validation="2002-01..2002-11", test="2000-01..2001-11")
    assert split(chosen, 60, months(60))["train"].stop == 60


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": 0.8, "validation": 0.3}, r"parts overlap: the shares 0\.8 \+ 0\.3 \+ 0\.15 are more than 1"),
        ({"train": 2006.0}, r"split\.train: a share must lie between 0 and 1, got 2006"),
        ({"test": 0.0}, r"split\.test: a share must lie between 0 and 1"),
        ({"test": 0.001}, r"split\.test: 0\.001 of 60 time steps, with gaps of 1, leaves nothing"),
        ({"train": "2000..2001"}, "train by date, but validation and test by share"),
        (
            {"train": "2000..2002-06", "validation": "2002-05..2003-05", "test": "2003-08..2004"},
            "train and validation overlap by 2 time steps",
        ),
        (
            {"train": "2000..2001", "validation": "2002-01..2003-05", "test": "2003-08..2004"},
            "train and validation are 0 time steps apart, but gap_steps asks for 1",
        ),
        (
            {"train": "1990..1991", "validation": "2002-01..2003-05", "test": "2003-08..2004"},
            "no time step lies in '1990..1991'; the record goes from 2000-01-16 to 2004-12-16",
        ),
        (
            {"train": "2001-06..2000-01", "validation": "2002-01..2003-05", "test": "2003-08..2004"},
            "ends before it starts",
        ),
        (
            {"train": "2000", "validation": "2002-01..2003-05", "test": "2003-08..2004"},
            r"expected a span like '2006-04\.\.2008-12' or a share like 0\.7, got '2000'",
        ),
        ({"train": "spring..summer", "validation": "2002..2003", "test": "2004..2005"}, "expected a span like"),
    ],
)
def test_what_is_refused(values: dict[str, float | str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(SplitConfig.model_validate(values), 60, months(60))


def test_dates_need_times() -> None:
    chosen = SplitConfig(train="2000..2001", validation="2002..2003", test="2004..2005")
    with pytest.raises(DataError, match="the record has none; give shares"):
        split(chosen, 60, None)
