"""Advice on fields of which the answer is known, and what the user meets."""

from __future__ import annotations

import itertools
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich_click as click
import xarray as xr

from stkit.ablate.axes import resolve
from stkit.ablate.budget import parse_budget
from stkit.ablate.grid import parse_grid
from stkit.advise.advice import Advice, advise
from stkit.advise.series import open_field, take_sample
from stkit.cli.main import cli, run
from stkit.data.source import ArraySource
from stkit.errors import DataError, UsageError
from stkit.recipe import load
from stkit.recipe.model import Recipe
from tests.data.fields import dataset, months, write

KNOBS: dict[str, Any] = {"height": 6, "width": 6, "steps": 300, "noise_std": 0.0, "forcing_slope": 0.0}
NOISE = {"forcing_std": 0.0, "noise_std": 1.0}


def on(**knobs: Any) -> Advice:
    return advise("synthetic_field", {**KNOBS, **knobs})


@pytest.mark.parametrize(
    ("knobs", "verdict", "module"),
    [
        ({"memory_steps": None}, "difference-stationary", "differencing"),
        (NOISE, "stationary", None),
        ({"memory_steps": 2.0, "season_amplitude": 3.0}, "stationary", None),
        ({**NOISE, "trend_per_step": 0.02}, "trend-stationary", "trend_season"),
        ({**NOISE, "variance_drift_per_step": 0.01}, "stationary", "reversible_norm"),
    ],
    ids=["random walk", "white noise", "season", "trend", "variance"],
)
def test_fields_with_a_known_answer(knobs: dict[str, Any], verdict: str, module: str | None) -> None:
    advice = on(**knobs)
    assert advice.findings.share(verdict) > 0.75
    assert advice.verdict.startswith("field, without its season: of 36 cells")
    expected = ("none", "mim") if module is None else ("none", "mim", module)
    assert advice.suggestion.nonstationary == expected
    assert advice.suggestion.departure_from == ("damped_anomaly" if module is None else "none")
    assert (advice.split.overall > 0.5) == ("season_amplitude" in knobs)
    assert advice.suggestion.anomaly == ("month" if "season_amplitude" in knobs else "none")
    if module == "reversible_norm":
        assert advice.findings.spread_ratio == pytest.approx(np.exp(0.01 * 150), rel=0.3)


@pytest.mark.parametrize(
    ("spread", "words"),
    [(1.02, "the same variance"), (0.97, "0.97 times the variance"), (4.44, "4.4 times the variance")],
)
def test_a_spread_in_words(spread: float, words: str) -> None:
    findings = replace(on(**NOISE).findings, spread=np.array([spread]))
    assert findings.spread_words == words


def test_a_short_record_is_called_short() -> None:
    advice = on(steps=36, memory_steps=6.0)
    assert advice.findings.silent > 0.5
    assert any("the record is too short for them" in reason for reason in advice.suggestion.reasons)
    assert any("and a verdict needs" in reason for reason in advice.suggestion.reasons)


def test_input_length_follows_the_memory() -> None:
    once = on(memory_steps=4.0)
    assert once.suggestion.input_steps == 2, "a first-order field says all in its last step"
    twice = on(memory_steps=6.0, forcing_memory_steps=4.0)
    assert twice.memory.direct_lags >= 2
    assert twice.suggestion.input_steps > 2


def combinations(advice: Advice) -> list[Recipe]:
    """The recipe of each cell of the grid that the line runs, as the command reads it."""
    words = shlex.split(advice.suggestion.line)
    assert words[:2] == ["stkit", "ablate"]
    root = click.Context(cli, info_name="stkit")
    command = cli.get_command(root, "ablate")
    assert command is not None
    given = command.make_context("ablate", words[2:], parent=root).params
    assert given["seeds"] == 3
    assert str(parse_budget(given["budget"])) == "300s"
    base = load(given["ref"], given["overrides"])
    changes = [resolve(axis, base.recipe) for axis in parse_grid(given["grid"])]
    made = []
    for cell in itertools.product(*changes):
        own = [override for change in cell for override in change.overrides]
        made.append(load(given["ref"], [*given["overrides"], *own]).recipe)
    assert len(made) == len(advice.suggestion.attention) * len(advice.suggestion.nonstationary)
    return made


@pytest.mark.parametrize(
    "knobs",
    [
        {"memory_steps": None, "trend_per_step": 0.05, "variance_drift_per_step": 0.01, "noise_std": 0.2},
        {**NOISE, "trend_per_step": 0.02, "season_amplitude": 4.0},
        {**NOISE, "steps": 40},
        {"memory_steps": 2.0, "step": "day", "steps": 800, "season_amplitude": 2.0, "season_period_steps": 365.25},
    ],
    ids=["everything", "trend and season", "short", "daily"],
)
def test_the_ablation_line_names_sound_recipes(knobs: dict[str, Any]) -> None:
    advice = on(**knobs)
    for recipe in combinations(advice):
        assert recipe.data.input_steps == advice.suggestion.input_steps
        assert recipe.data.dataset.model_dump().items() >= {**KNOBS, **knobs}.items()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file with two fields, land in a corner, a cell that never changes and one with large gaps."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, 5, 7)).cumsum(axis=0)
    values[:, :2, :2] = np.nan
    values[:, 4, 6] = 3.0
    values[:, 4, 0] = np.arange(120)
    values[:60, 4, 5] = np.nan
    values[17, 3, 3] = np.nan
    data = dataset(values, months(120))
    data["noise"] = ("time", "lat", "lon"), rng.normal(size=(120, 5, 7)).astype(np.float32), {"units": "1"}
    return Path(write(tmp_path, data, "my field.nc")).name


def test_a_file(file: str) -> None:
    advice = advise(file, variable="sst")
    sample = advice.sample
    assert (sample.valid_cells, sample.cells) == (31, 28)
    assert (sample.constant_cells, sample.patchy_cells) == (2, 1)
    assert np.isfinite(sample.values).all()
    assert "2 constant or without anything random left out; 1 with large gaps left out" in advice.worth
    assert advice.findings.share("difference-stationary") > 0.3 > advice.findings.share("stationary")
    for recipe in combinations(advice):
        assert recipe.data.dataset.path == file
        assert recipe.data.dataset.variables == ("sst",)


def test_settings_of_the_file_reach_it(file: str) -> None:
    settings = {"missing_values": [-999], "dimensions": {"time": "time"}}
    advice = advise(file, settings, variable="noise")
    assert advice.findings.share("stationary") > 0.75
    config = combinations(advice)[0].data.dataset
    assert (config.missing_values, config.dimensions.time) == ((-999.0,), "time")


def test_a_file_without_times_knows_no_calendar(tmp_path: Path) -> None:
    path = write(tmp_path, dataset(np.random.default_rng(0).normal(size=(90, 4, 4))))
    advice = advise(path)
    assert advice.split.seasons == ()
    assert "no season was looked for" in advice.worth
    assert "data.extra_inputs=[mask]" in shlex.split(advice.suggestion.line)
    assert advise(path, season=9).split.seasons[0].period == 9
    assert combinations(advice)[0].data.extra_inputs == ("mask",)


def test_a_record_with_gaps_in_time_is_examined_up_to_them(tmp_path: Path) -> None:
    times = np.concatenate([months(40), months(80, "2010-01")])
    path = write(tmp_path, dataset(np.random.default_rng(0).normal(size=(120, 3, 3)), times))
    with pytest.raises(DataError, match="allow_gaps"):
        advise(path)
    advice = advise(path, {"allow_gaps": True})
    assert advice.sample.steps == 80
    assert "the longest stretch without a gap of a record of 120 steps" in advice.worth


def test_blocks_share_out_a_large_field() -> None:
    fields = np.random.default_rng(0).normal(size=(30, 1, 37, 53)).astype(np.float32)
    fields[..., 10:20, :] = np.nan
    fields[..., 15, 30] = 1.0 + np.arange(30)[:, None]
    sample = take_sample(ArraySource(fields), None, 100)
    assert 50 < sample.cells <= 100
    numbers = set(zip(sample.rows // sample.block, sample.columns // sample.block, strict=True))
    assert len(numbers) == sample.cells, "one for each block"
    rows, columns = np.nonzero(np.isfinite(fields[0, 0]))
    assert numbers == set(zip(rows // sample.block, columns // sample.block, strict=True)), "and no block is left out"
    np.testing.assert_array_equal(sample.values, fields[:, 0, sample.rows, sample.columns])
    assert take_sample(ArraySource(fields), None, 10_000).cells == 37 * 53 - 10 * 53 + 1


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["advise", *arguments]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_examined(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).normal(size=(60, 3, 3))
    here = Path.cwd()
    write(here, dataset(np.full((60, 3, 3), np.nan), months(60)), "land.nc")
    write(here, dataset(noise[:20], months(20)), "short.nc")
    write(here, dataset(np.ones((60, 3, 3)), months(60)), "flat.nc")
    write(here, dataset(np.where(np.arange(60)[:, None, None] % 2, noise, np.nan), months(60)), "half.nc")
    assert "every value of 'sst' is missing: it is all land" in told(capsys, "land.nc")
    assert "has 20 time steps; tests of stationarity need 30 or more" in told(capsys, "short.nc")
    assert "'sst' is constant in time" in told(capsys, "flat.nc")
    line = dataset(np.broadcast_to(np.arange(60.0)[:, None, None], (60, 3, 3)), months(60))
    write(here, line, "line.nc")
    assert "'sst' is a trend and a season and nothing else" in told(capsys, "line.nc")
    assert "more than 10% of the steps are missing" in told(capsys, "half.nc")
    assert "120 time steps, less than two seasons of 70" in told(capsys, file, "--variable", "sst", "--season", "70")
    assert "several variables are fields: sst, noise" in told(capsys, file)
    assert "no variable 'sts'" in told(capsys, file, "--variable", "sts")
    assert "no such file, and no data set of that name; did you mean 'my field.nc'?" in told(capsys, "my_field.nc")
    assert "did you mean 'sst_ostia'?" in told(capsys, "sst_osti")
    assert "there is no setting 'seasn'" in told(capsys, file, "seasn=3")
    assert "sequences have no common time" in told(capsys, "moving_mnist")
    assert "name one with --variable: wind_u, wind_v" in told(capsys, "wind_navy")
    assert "ends in .html, or the maps in .png" in told(capsys, file, "-o", "advice.pdf")
    assert "a share lies between 0 and 1" in told(capsys, file, "--variable", "sst", "--false-share", "2")
    Path("advice.html").write_text("mine")
    assert "the file exists" in told(capsys, file, "-o", "advice.html")
    assert Path("advice.html").read_text() == "mine"


def test_a_file_wins_over_a_data_set_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, dataset(np.zeros((3, 2, 2)), months(3)), "sst_ostia")
    assert open_field("sst_ostia").steps == 3
    with pytest.raises(UsageError, match="no data set of that name"):
        open_field("nothing")


def test_the_command(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["advise", file, "--variable", "sst", "-o", "advice.html"]) == 0
    out = capsys.readouterr().out
    assert "sst, without its season: of 28 cells" in out
    assert "A hypothesis, not a result" in out
    (line,) = [line for line in out.splitlines() if line.startswith("stkit ablate")]
    assert shlex.split(line)[2] == "predrnn-sst+netcdf"
    page = Path("advice.html").read_text(encoding="utf-8")
    assert "<title>Is sst of my field.nc stationary?</title>" in page
    assert page.count('<img src="data:image/png;base64,') == 2
    assert "http" not in page.replace("http-equiv", ""), "nothing is loaded from elsewhere"
    assert run(["advise", file, "--variable", "sst", "-o", "maps.png", "--json", "--cells", "9"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Path("maps.png").read_bytes().startswith(b"\x89PNG")
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert len(found["map"]) == found["cells"]["tested"] <= 9
    assert found["suggestion"]["command"].startswith("stkit ablate predrnn-sst+netcdf ")
    assert {"row", "column", "verdict", "season_share", "folding_steps"} == set(found["map"][0])


def test_the_packaged_temperature(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["advise", "sst_ostia", "--cells", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 54
    assert 0.4 < found["season"]["share_of_variance"] < 0.8
    assert found["suggestion"]["data.transforms.anomaly"] == "month"
    for word in shlex.split(found["suggestion"]["command"]):
        if "=" in word and word.startswith("data."):
            load("predrnn-sst", [word])


def test_cells_that_hardly_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A jump, a spike, two values in turn, a calm first half: every number is finite and nothing is warned of."""
    values = np.random.default_rng(0).normal(size=(90, 2, 5))
    values[:, 0] = 0.0
    values[60:, 0, 0] = 1.0
    values[60, 0, 1] = 1.0
    values[::2, 0, 2] = 1.0
    values[45:, 0, 3] = np.random.default_rng(1).normal(size=45)
    values[:, 0, 4] = np.arange(90) // 30
    path = write(tmp_path, dataset(values, months(90)))
    assert run(["advise", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["map"]
    places = {(cell["row"], cell["column"]) for cell in found}
    assert places == {(row, column) for row in range(2) for column in range(5)} - {(0, 2)}, "two in turn are a season"


def test_a_wide_field_and_one_without_land_are_drawn(tmp_path: Path) -> None:
    from stkit.advise.page import write_maps

    values = np.random.default_rng(0).normal(size=(60, 3, 40))
    path = write(tmp_path, dataset(values, months(60)))
    write_maps(advise(path), tmp_path / "maps.png")
    assert (tmp_path / "maps.png").stat().st_size > 5_000


def test_what_is_read_is_what_the_data_set_reads(file: str) -> None:
    with xr.open_dataset(file) as data:
        expected = data["sst"].values
    sample = take_sample(open_field(file, {}, "sst"), "sst", 1000)
    known = np.isfinite(expected[:, sample.rows, sample.columns])
    assert known.mean() > 0.99
    np.testing.assert_allclose(sample.values[known], expected[:, sample.rows, sample.columns][known])
