"""Bad input of attention, non-stationary modules and ablations: one clear message; nothing is trained or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stkit.cli.main import run
from tests.data.fields import dataset, months, seasonal, write

BASE = ("data.dataset.path=field.nc", "model.layers=[4,4]", "train.steps=2")
LAST_YEAR = slice(45, None)
SPANS = "data.split={train: 2000-01..%s, validation: 2002-01..2002-12, test: 2003-10..2004-12}"


@pytest.fixture(autouse=True)
def _field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty months of 8 x 10 cells, and the same with nothing in them, or nothing in the test part."""
    monkeypatch.chdir(tmp_path)
    for name, missing in {"field": slice(0), "land": slice(None), "later-land": LAST_YEAR}.items():
        fields = seasonal(60, height=8, width=10)[:, 0]
        fields[missing] = np.nan
        write(tmp_path, dataset(fields, months(60)), f"{name}.nc")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one message of a command that is refused before anything is written."""
    before = sorted(Path().iterdir())
    assert run([*arguments, "--out", "made"]) == 2
    assert sorted(Path().iterdir()) == before
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("error:") == 1
    return told.err


RECIPES: dict[str, tuple[Sequence[str], str]] = {
    "a place that is not there": (
        ["model.attention.q=self_attention"],
        "no layer has a place 'q'; the places are x, h, c, m, d, t",
    ),
    "a place of another transition": (
        ["model.transition=forget", "model.attention.d=self_attention"],
        "no layer has a place 'd'; the places are x, h, c, m",
    ),
    "a module of another slot": (
        ["model.transition=self_attention"],
        "the module 'self_attention' fits the slot 'attention', not 'transition'; known: forget, mim, recall",
    ),
    "heads that do not divide": (
        ["model.attention.h={name: self_attention, heads: 3}"],
        "layer 1 (st_lstm), place 'h': 3 heads do not divide the 4 channels",
    ),
    "a window larger than the grid of the file": (
        ["model.attention.h={name: windowed_attention, window: 5}"],
        "a window of 5 x 5 does not fit the grid of 4 x 5 (counted in patches); take 'window: 4' or less",
    ),
    "a season longer than the input": (
        ["model.nonstationary={name: differencing, order: 0, season: 12}", "data.departure_from=none"],
        "look back 12 steps, and the model is given 3 steps; set data.input_steps to at least 13",
    ),
    "a season longer than the record": (
        ["model.nonstationary={name: trend_season, season: 60}", "data.departure_from=none", "data.input_steps=61"],
        "the train part has 40 time steps (2000-01-16 to 2003-04-16), but one window needs 64 (61 input + 3 horizon)",
    ),
    "a training part shorter than the season": (
        [SPANS % "2000-09"],
        "a climatology by month needs every calendar month in the training part; it lacks Oct, Nov, Dec",
    ),
    "two that both set the level": (
        ["model.nonstationary=differencing"],
        "set data.departure_from to none, or model.nonstationary to null",
    ),
    "all land": (["data.dataset.path=land.nc"], "sst: every value of the training part is missing (NaN)"),
    "nothing to score": (
        ["data.dataset.path=later-land.nc", SPANS % "2001-11"],
        "sst: every value that the test part would be scored on is missing (NaN), or where the training part has none; "
        "choose another span in data.split.test",
    ),
}


@pytest.mark.parametrize(("overrides", "message"), RECIPES.values(), ids=list(RECIPES))
def test_a_recipe_that_cannot_be(capsys: pytest.CaptureFixture[str], overrides: Sequence[str], message: str) -> None:
    given = {text.partition("=")[0]: text for text in (*BASE, *overrides)}
    assert message in refused(capsys, "recipe", "mim+netcdf", *given.values())


GRIDS: dict[str, tuple[Sequence[str], Sequence[str], str]] = {
    "a place that is not there": ([], ["attention=none,q:sam"], "'attention=q:sam': override"),
    "a module that is not there": ([], ["attention=none,samm"], "no attention module 'samm'; did you mean 'sam'?"),
    "heads that do not divide": (
        [],
        ["attention=none,{h: {name: self_attention, heads: 3}}"],
        "3 heads do not divide the 4 channels",
    ),
    "a window larger than the grid of the file": (
        [],
        ["attention=none,{h: {name: windowed_attention, window: 5}}"],
        "a window of 5 x 5 does not fit the grid of 4 x 5",
    ),
    "a season longer than the input": (
        ["data.departure_from=none"],
        ["nonstationary=none,{name: differencing, season: 12}"],
        "set data.input_steps to at least 14",
    ),
    "all land": (
        ["data.dataset.path=land.nc"],
        ["attention=none,sam"],
        "sst: every value of the training part is missing (NaN)",
    ),
}


@pytest.mark.parametrize(("overrides", "grid", "message"), GRIDS.values(), ids=list(GRIDS))
def test_a_grid_that_cannot_be(
    capsys: pytest.CaptureFixture[str], overrides: Sequence[str], grid: Sequence[str], message: str
) -> None:
    given = {text.partition("=")[0]: text for text in (*BASE, *overrides)}
    told = refused(capsys, "ablate", "mim+netcdf", *given.values(), "--grid", *grid, "--budget", "2steps")
    assert message in told


@pytest.mark.parametrize("budget", ["0s", "0steps"])
def test_a_budget_of_nothing(capsys: pytest.CaptureFixture[str], budget: str) -> None:
    told = refused(capsys, "ablate", "mim+netcdf", *BASE, "--grid", "attention=none,sam", "--budget", budget)
    assert f"--budget {budget}: too small for one evaluation" in told


def test_runs_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere: no such run directory" in refused(capsys, "compare", "nowhere")
