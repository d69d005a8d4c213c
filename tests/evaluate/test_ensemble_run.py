"""Several runs scored together: the same numbers by hand from their forecasts, and what is refused."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from stkit.cli.main import run as stkit
from stkit.errors import UsageError
from stkit.evaluate.ensemble_run import evaluate_ensemble
from stkit.evaluate.run import evaluate_run
from stkit.evaluate.scores import Scores
from stkit.run.directory import RunDirectory
from tests.evaluate.test_run import by_hand


@pytest.fixture
def pair(trained: RunDirectory, tmp_path: Path) -> list[RunDirectory]:
    """Two runs whose weights differ."""
    runs = []
    for number in range(2):
        shutil.copytree(trained.path, tmp_path / f"run{number}")
        run = RunDirectory(tmp_path / f"run{number}")
        for path in run.checkpoints.rglob("model.safetensors"):
            weights, before = load_file(path), sha256(path.read_bytes()).hexdigest()
            draw = torch.Generator().manual_seed(number)
            noise = {name: 0.1 * torch.randn(tensor.shape, generator=draw) for name, tensor in weights.items()}
            save_file({name: tensor + noise[name].to(tensor) for name, tensor in weights.items()}, path)
            for manifest in path.parent.glob("*.json"):
                after = sha256(path.read_bytes()).hexdigest()
                manifest.write_text(manifest.read_text().replace(before, after))
        runs.append(run)
    return runs


def test_the_scores_are_those_of_the_members_by_hand(pair: list[RunDirectory], tmp_path: Path) -> None:
    out = tmp_path / "together.json"
    paths = [str(run.path) for run in pair]
    assert stkit(["eval", *paths, "--ensemble", "--out", str(out), "--json"]) == 0
    scores = Scores.from_dict(json.loads(out.read_text()))
    assert "one ensemble of 2 runs" in scores.verdict
    assert scores.forecasts["model"].startswith("mean of 2 runs as an ensemble")
    members = []
    for run in pair:
        evaluate_run(run)
        with xr.open_dataset(run.forecast, engine="h5netcdf") as dataset:
            members.append(dataset.sst.values.astype(np.float64))
    assert np.nanmax(np.abs(members[0] - members[1])) > 0.05
    truth, _, counted = by_hand(pair[0])
    lat = np.linspace(-50.0, 60.0, truth.shape[2])
    weights = counted * np.cos(np.deg2rad(lat))[:, None]
    total = weights.sum(axis=(0, 2, 3))

    def mean(values: np.ndarray) -> np.ndarray:
        return (weights * np.where(counted, values, 0)).sum(axis=(0, 2, 3)) / total

    one, other = members
    found = scores.variables["sst"].scores["model"]
    np.testing.assert_allclose(found["rmse"], np.sqrt(mean(((one + other) / 2 - truth) ** 2)), rtol=1e-5)
    fair = (abs(one - truth) + abs(other - truth)) / 2 - abs(one - other) / 2
    np.testing.assert_allclose(found["crps"], mean(fair), rtol=1e-4)
    # The variance of two members is half the square of their distance; times three halves for two members.
    spread = np.sqrt(mean((one - other) ** 2 / 2 * 1.5)) / np.array(found["rmse"])
    np.testing.assert_allclose(found["spread_skill"], spread, rtol=1e-4)
    persistence = scores.variables["sst"].scores["persistence"]
    np.testing.assert_allclose(persistence["crps"], persistence["mae"])
    assert persistence["spread_skill"] == (None, None)
    assert len(scores.variables["sst"].curves["rank_histogram"].x) == 3
    assert list(scores.variables["sst"].curves["rank_histogram"].lines) == ["model"]


def test_what_is_refused(pair: list[RunDirectory], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="two or more members; 1 was given"):
        evaluate_ensemble(pair[:1])
    with pytest.raises(UsageError, match="is named twice"):
        evaluate_ensemble([pair[0], pair[0]])
    text = pair[1].recipe.read_text()
    pair[1].recipe.write_text(text.replace("gap_steps: 1", "gap_steps: 2"))
    for file in pair[1].checkpoints.rglob("*.json"):
        from stkit.recipe import load

        old = pair[1].read_record()["recipe_hash"]
        file.write_text(file.read_text().replace(old, load(str(pair[1].path)).hash))
    with pytest.raises(UsageError, match="its data section is not that of"):
        evaluate_ensemble(pair)
    paths = [str(run.path) for run in pair]
    for arguments, message in (
        (["eval", *paths], "2 runs: score each by itself, or all as one forecast with --ensemble"),
        (["eval", paths[0], "--out", "x.json"], "--out is for --ensemble"),
    ):
        assert stkit(arguments) == 2
        assert message in " ".join(capsys.readouterr().err.split())
