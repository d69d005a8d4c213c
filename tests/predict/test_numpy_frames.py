"""Forecasts from frames in NumPy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from stkit.cli.main import run as stkit
from stkit.errors import DataError
from stkit.predict.forecast import predict
from stkit.run.directory import RunDirectory
from stkit.run.load import load
from tests.predict.conftest import MakeRun, opened

PLAIN: dict[str, Any] = {"transforms": {}, "extra_inputs": [], "departure_from": "none"}


@pytest.fixture(scope="session")
def digits(make_run: MakeRun) -> RunDirectory:
    return make_run(data={"dataset": {"name": "moving_mnist"}, **PLAIN}, model={"layers": [2], "patch": 8})


@pytest.fixture(scope="session")
def sequences(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("sequences") / "many.npy"
    np.save(path, np.random.default_rng(0).random((12, 6, 6, 9), dtype=np.float32))
    return make_run(data={"dataset": {"name": "arrays", "path": str(path), "axes": "NTHW"}, **PLAIN})


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape, dtype=np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channel", [False, True])
def test_a_run_without_times_starts_from_an_array(
    digits: RunDirectory, tmp_path: Path, dtype: type, channel: bool
) -> None:
    given = frames(5, 64, 64).astype(dtype)
    np.save(tmp_path / "frames.npy", given[:, None] if channel else given)
    done = predict(digits.path, tmp_path / "frames.npy", tmp_path / "out.nc")
    assert done.starts == ("4",)
    forecaster = load(digits.path)
    context = torch.from_numpy(given[-3:].astype(np.float32))[None, :, None]
    expected = forecaster(context, horizon=2)
    np.testing.assert_array_equal(opened(tmp_path / "out.nc")["brightness"].values.squeeze(), expected.squeeze())


def test_a_run_on_sequences_starts_from_one(
    sequences: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "one.npy", frames(5, 6, 9))
    predict(sequences.path, tmp_path / "one.npy", tmp_path / "absolute.nc")
    monkeypatch.chdir(tmp_path)
    assert stkit(["predict", str(sequences.path), "one.npy", "-o", "relative.nc", "--device", "cpu"]) == 0
    xr.testing.assert_equal(opened(tmp_path / "absolute.nc"), opened(tmp_path / "relative.nc"))
    np.save(tmp_path / "many.npy", frames(2, 5, 6, 9))
    with pytest.raises(
        DataError, match=r"many.npy: the array is 2 x 5 x 6 x 9, many sequences \(NTHW\).*alone \(THW\)"
    ):
        predict(sequences.path, tmp_path / "many.npy", tmp_path / "out.nc")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            frames(64, 64),
            r"the array is 64 x 64; expected frames x rows x columns, or frames x 1 x rows x columns, of b",
        ),
        (frames(5, 2, 64, 64), r"the array is 5 x 2 x 64 x 64; expected"),
        (np.zeros((5, 64, 64), np.uint8), r"holds uint8, .* save brightness as float32 in the units of the training"),
        (frames(2, 64, 64), r"has 2 time steps, but the model needs 3"),
        (np.full((5, 64, 64), np.nan, np.float32), r"'brightness' is missing \(NaN\) at every cell"),
    ],
)
def test_an_array_that_does_not_fit_is_told(
    digits: RunDirectory, tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "frames.npy", array)
    with pytest.raises(DataError, match=message):
        predict(digits.path, tmp_path / "frames.npy", tmp_path / "out.nc")


def test_a_run_with_times_needs_them(trained: RunDirectory, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", frames(5, 6, 9))
    with pytest.raises(DataError, match="trained on fields with times, and an array has none"):
        predict(trained.path, tmp_path / "frames.npy", tmp_path / "out.nc")
