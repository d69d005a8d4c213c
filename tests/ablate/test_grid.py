"""The grid as it is written: what is read, and what is refused, whatever is typed."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stkit.ablate.grid import Axis, cell_name, cells, parse_grid, split_values
from stkit.cli.commands.ablate import spread
from stkit.errors import UsageError


def test_axes_and_their_cells() -> None:
    axes = parse_grid(["attention=none,sam", "nonstationary=none,mim"])
    assert axes == (Axis("attention", ("none", "sam")), Axis("nonstationary", ("none", "mim")))
    assert [cell_name(values) for values in cells(axes)] == [
        "attention=none nonstationary=none",
        "attention=none nonstationary=mim",
        "attention=sam nonstationary=none",
        "attention=sam nonstationary=mim",
    ]


def test_brackets_and_quotes_hold_commas_together() -> None:
    (axis,) = parse_grid(["model.layers=[16,16], [{width: 8, cell: ghu}, 8],32"])
    assert axis.values == ("[16,16]", "[{width: 8, cell: ghu}, 8]", "32")
    assert split_values("'a,b',\"c,]\"", "") == ["'a,b'", '"c,]"']


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "name at least one axis"),
        (["attention"], "expected AXIS=VALUE,VALUE"),
        (["=none"], "expected AXIS=VALUE,VALUE"),
        (["two words=1"], "expected AXIS=VALUE,VALUE"),
        (["attention="], "has no values"),
        (["attention=none,,sam"], "has an empty value"),
        (["attention=none,"], "has an empty value"),
        (["attention=sam,none,sam"], "'sam' is there twice"),
        (["attention=none", "attention=sam"], "the axis 'attention' is there twice"),
        (["model.layers=[16,16"], "']' is missing at the end"),
        (["model.layers=16]"], "']' closes nothing"),
        (["model.layers=[16}"], "'}' closes nothing"),
        (["model.layers='16"], '"\'" is missing at the end'),
    ],
)
def test_what_is_no_grid_is_told(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_grid(texts)
    assert message in str(caught.value)
    assert str(caught.value).startswith("--grid")
    assert "\n" not in str(caught.value)


@given(st.lists(st.text(alphabet="ab=,[]{}()'\" .:-\n\0é", max_size=20), max_size=4))
@example(["a='[',]"])
@settings(max_examples=200)
def test_any_text_is_a_grid_or_one_message(texts: list[str]) -> None:
    axes = grid_or_message(texts)
    if isinstance(axes, str):
        assert axes.startswith("--grid")
        return
    assert len({axis.name for axis in axes}) == len(axes) > 0
    for axis in axes:
        assert axis.name
        assert axis.name == axis.name.strip()
        assert len(set(axis.values)) == len(axis.values) > 0
        assert all(axis.values)
    count = 1
    for axis in axes:
        count *= len(axis.values)
    assert len({cell_name(values) for values in cells(axes)}) == count


def grid_or_message(texts: list[str]) -> tuple[Axis, ...] | str:
    try:
        return parse_grid(texts)
    except UsageError as error:
        return str(error)


@given(st.lists(st.sampled_from(["none", "[1,2]", "{a: b, c: [d, e]}", "'x,y'", "1e-3"]), min_size=1, unique=True))
@settings(max_examples=30)
def test_values_come_back_as_they_were_written(values: list[str]) -> None:
    (axis,) = parse_grid([f"some.key={','.join(values)}"])
    assert list(axis.values) == values


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["REF", "--grid", "a=1", "b=2", "--seeds", "3"], ["REF", "--grid", "a=1", "--grid", "b=2", "--seeds", "3"]),
        (["REF", "x=1", "--grid", "a=1", "--json"], ["REF", "x=1", "--grid", "a=1", "--json"]),
        (["REF", "--grid=a=1", "b=2"], ["REF", "--grid=a=1", "--grid", "b=2"]),
        (["REF", "--grid", "a=1", "--grid", "b=2"], ["REF", "--grid", "a=1", "--grid", "b=2"]),
        (["REF", "--seeds", "3", "x=1"], ["REF", "--seeds", "3", "x=1"]),
        (["REF", "--grid"], ["REF", "--grid"]),
        (["REF", "--grid", "--json"], ["REF", "--grid", "--json"]),
        (["--grid", "a=1", "--", "REF"], ["--grid", "a=1", "--", "REF"]),
    ],
)
def test_axes_follow_one_option(typed: list[str], read: list[str]) -> None:
    assert spread(typed) == read
