"""Training on one event and testing on another, from the command line: two radars, two grids, one pipeline."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from stkit.cli.main import main


def write(path, start, steps, height, width, x0, seed):
    """Rain that is carried eastwards, on a grid of its own."""
    rng = np.random.default_rng(seed)
    band = rng.gamma(0.5, 4.0, (height, width))
    rate = np.stack([np.roll(band, step, axis=1) for step in range(steps)]).astype("f4")
    times = np.datetime64(start, "ns") + np.arange(steps) * np.timedelta64(5, "m")
    coords = {
        "time": times,
        "y": ("y", np.arange(height, dtype=float), {"units": "km", "standard_name": "projection_y_coordinate"}),
        "x": ("x", x0 + np.arange(width, dtype=float), {"units": "km", "standard_name": "projection_x_coordinate"}),
    }
    xr.Dataset(
        {"rain_rate": (("time", "y", "x"), rate, {"units": "mm h-1"})}, coords, {"license": f"made up in {start[:4]}"}
    ).to_netcdf(path)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("knmi.nc", "2010-08-26T00:00", 40, 12, 16, 0.0, 0)
    write("fmi.nc", "2017-05-09T10:45", 14, 10, 18, 300.0, 1)
    (tmp_path / "radar.yaml").write_text(
        """
data:
  dataset: {name: netcdf, path: knmi.nc}
  test_dataset: {name: netcdf, path: fmi.nc}
  split: {train: 0.6, validation: 0.4, test: null}
  input_steps: 3
  horizon: 2
  transforms: {log_offset: 0.1}
model: {name: convlstm, layers: [4], patch: 2}
train: {steps: 2, batch_size: 2, loss: {name: balanced}, sampling: {name: none}}
evaluate: {baselines: [persistence]}
"""
    )
    return tmp_path


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


def test_trained_on_one_event_and_scored_on_another(recipe, capsys) -> None:
    assert run("recipe", "radar.yaml", "--out", "run", "evaluate.metrics=[rmse]") == 0, capsys.readouterr()
    scores = json.loads((recipe / "run" / "scores.json").read_text())
    assert "10 overlapping test windows (2 independent) of one event and one training run" in scores["verdict"]
    assert "not enough to rank" in scores["verdict"]
    assert scores["data"]["tested on"] == "fmi.nc"
    assert scores["data"]["its licence"] == "made up in 2017"
    truth = xr.open_dataset("fmi.nc")["rain_rate"].values
    expected = [np.sqrt(np.mean((truth[2 + lead : 12 + lead] - truth[2:12]) ** 2)) for lead in (1, 2)]
    found = scores["variables"]["rain_rate"]["scores"]["persistence"]["rmse"]
    assert found == pytest.approx(expected, rel=1e-5)
    with xr.open_dataset("run/forecast.nc") as forecast:
        assert forecast["rain_rate"].shape == (10, 2, 10, 18)
        assert forecast["x"].values[0] == 300.0
        assert forecast["time"].values[0] == np.datetime64("2017-05-09T10:55")
        assert forecast["rain_rate"].notnull().all()
    report = (recipe / "run" / "report.html").read_text()
    assert "of one event" in report
    assert "of fmi.nc" in report
    assert run("eval", "run") == 0, capsys.readouterr()
    assert json.loads((recipe / "run" / "scores.json").read_text()) == scores


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.split.test=0.1", "all of data.test_dataset is the test part: write test: null"),
        ("data.test_dataset=null", "null means all of data.test_dataset, and none is named"),
        ("evaluate.baselines=[climatology]", "climatology is fitted to each cell of the training"),
        ("data.transforms.standardise=cell", "mean and deviation of each cell belong to the cells of the training"),
        ("data.test_dataset.path=fmo.nc", "no such file: 'fmo.nc'"),
    ],
)
def test_what_is_refused_before_anything_is_trained(recipe, capsys, override, said) -> None:
    assert run("recipe", "radar.yaml", "--out", "run", override) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (recipe / "run").exists()
