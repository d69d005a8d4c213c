"""Fill values that no file declares are noticed, and values that are only extreme are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from stkit.cli.main import run as stkit
from stkit.data.fill_values import USUAL, FillValues
from stkit.data.prepare import prepare
from stkit.data.source import Variable
from stkit.errors import DataError
from stkit.recipe import load


def look(*pieces: np.ndarray) -> None:
    found = FillValues([Variable("sst", "degC")])
    for piece in pieces:
        found.add(np.asarray(piece, dtype=np.float32)[:, None])
    found.check()


def field(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(3, 31, (4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("value", [-999.0, -9999.0, -32768.0, 9999.9])
def test_a_fill_value_is_refused_with_its_number(value: float) -> None:
    broken = field()
    broken[1:, 2, 3] = value
    with pytest.raises(DataError, match=r"sst: 3 values of the training part are .* while all others lie between 3\."):
        look(field(1), broken)
    with pytest.raises(DataError, match=r"missing_values=\["):
        look(np.where(broken == np.float32(value), broken, np.float32(7)))


def test_one_is_enough_and_nan_is_none() -> None:
    broken = np.where(np.arange(6) == 1, np.nan, field())
    look(broken)
    broken[0, 0, 0] = -999
    with pytest.raises(DataError, match="1 value of the training part is -999"):
        look(broken)


@given(st.sampled_from(USUAL.tolist()), st.floats(-1, 1))
def test_a_number_among_others_like_it_is_data(value: float, place: float) -> None:
    """As in a field of heights that reaches 999 m."""
    look(np.linspace(value - abs(value) * (1 + place), value + abs(value) * (1 - place), 24).reshape(1, 4, 6))
    steady = np.full((2, 3, 3), value)
    look(steady)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = np.arange("2001-01", "2005-01", dtype="datetime64[M]").astype("datetime64[ns]")
    values = np.random.default_rng(0).uniform(3, 31, (48, 6, 8)).astype(np.float32)
    values[:, 0, 0] = -999
    coords = {"time": times, "lat": np.linspace(-10, 10, 6), "lon": np.linspace(0, 20, 8)}
    xr.Dataset({"sst": (("time", "lat", "lon"), values, {"units": "degC"})}, coords).to_netcdf(tmp_path / "sst.nc")
    small = ["data.input_steps=3", "data.horizon=2", f"data.dataset.path={tmp_path / 'sst.nc'}", "data.split.train=0.6"]
    small += ["data.split.validation=0.2", "data.split.test=0.2", "data.crop=null"]
    base = ["predrnn+sst", "data.dataset.name=netcdf", *small]
    assert stkit(["recipe", *base, "train.steps=1", "--out", str(tmp_path / "run")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "are -999, while all others lie between 3" in said
    assert "data.dataset.missing_values=[-999]" in said
    declared = load(base[0], [*base[1:], "data.dataset.missing_values=[-999]"]).recipe.data
    assert not prepare(declared, 0).pipeline.valid[0, 0, 0], "the cell is land then"
