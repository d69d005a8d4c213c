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
from stkit.evaluate.window_errors import read_errors
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
    assert "one ensemble of 2 members" in scores.verdict
    assert scores.forecasts["model"].startswith("mean of an ensemble of 2 runs; the first: predrnn, 2 layers")
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


def test_an_ensemble_has_a_report_and_files_of_its_own(pair: list[RunDirectory], tmp_path: Path) -> None:
    before = {path: path.read_bytes() for run in pair for path in run.path.rglob("*") if path.is_file()}
    out = tmp_path / "together"
    assert stkit(["eval", *(str(run.path) for run in pair), "--ensemble", "--out", str(out)]) == 0
    folder = RunDirectory.open(out)
    page = folder.report.read_text(encoding="utf-8")
    for words in ("unevenness of ranks", "spread / skill", "CRPS", "An ensemble of 2 runs", "members below the truth"):
        assert words in page, words
    assert f"stkit eval {pair[0].path} {pair[1].path} --ensemble" in page
    assert not folder.card.exists()
    with xr.open_dataset(folder.forecast, engine="h5netcdf") as dataset:
        assert dataset.attrs["title"].endswith("the mean of an ensemble")
        assert dataset.sst.sizes["time"] == Scores.read(folder.scores).windows
    assert "crps" in read_errors(folder.errors).layout.statistics
    assert {path: path.read_bytes() for path in before} == before, "nothing is written into the runs"


def members_file(pair: list[RunDirectory], field_path: Path, out: Path) -> Path:
    first, *_, last = read_errors(pair[0].errors).layout.times.astype("datetime64[M]")  # type: ignore[union-attr]
    span = ["--start", f"{first}..{last}", "--member", str(pair[1].path)]
    assert stkit(["predict", str(pair[0].path), str(field_path), "-o", str(out), *span]) == 0
    return out


def test_the_members_in_a_file_give_the_scores_of_the_runs(
    pair: list[RunDirectory], field_path: Path, tmp_path: Path
) -> None:
    file = members_file(pair, field_path, tmp_path / "members.nc")
    names = [str(run.path) for run in pair]
    assert stkit(["eval", *names, "--ensemble", "--out", str(tmp_path / "runs.json")]) == 0
    assert stkit(["eval", names[0], "--forecasts", str(file), "--out", str(tmp_path / "file")]) == 0
    runs = Scores.from_dict(json.loads((tmp_path / "runs.json").read_text()))
    told = Scores.read(tmp_path / "file" / "scores.json")
    assert told.forecasts["model"] == "mean of an ensemble of 2 members, forecasts from members.nc"
    for forecast, scores in runs.variables["sst"].scores.items():
        for name, values in scores.items():
            found = told.variables["sst"].scores[forecast][name]
            np.testing.assert_allclose(np.array(found, float), np.array(values, float), rtol=1e-4, err_msg=name)


def test_what_is_missing_in_either_is_left_out_and_counted(
    pair: list[RunDirectory], field_path: Path, tmp_path: Path
) -> None:
    """A file whose mask is another one: NaN where there is a truth, and values on land."""
    whole = xr.load_dataset(members_file(pair, field_path, tmp_path / "members.nc"), decode_timedelta=False)
    hidden = whole.copy(deep=True)
    hidden.sst[0, 0, :, 3, 3:7] = np.nan  # of one start and member: the mean has no value there either
    hidden.sst[:, :, :, 0, 0] = 1000.0  # land
    hidden.to_netcdf(tmp_path / "hidden.nc", engine="h5netcdf")
    told = []
    for name in ("members", "hidden"):
        arguments = ["eval", str(pair[0].path), "--forecasts", str(tmp_path / f"{name}.nc"), "--json"]
        assert stkit([*arguments, "--out", str(tmp_path / f"{name}.json")]) == 0
        told.append(Scores.from_dict(json.loads((tmp_path / f"{name}.json").read_text())).variables["sst"])
    both, left = told
    assert left.true_cells == both.true_cells, "the truth is what it was"
    assert both.counted_cells - left.counted_cells == 4 * 2, "four cells of one start, at two lead times"
    assert left.counted_fraction < both.counted_fraction
    assert abs(left.scores["model"]["rmse"][0] - both.scores["model"]["rmse"][0]) < 1, "not 1000 degrees"


def test_a_file_that_does_not_fit_is_refused(
    pair: list[RunDirectory], field_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = xr.load_dataset(members_file(pair, field_path, tmp_path / "members.nc"), decode_timedelta=False)
    capsys.readouterr()
    for number, (changed, message) in enumerate(
        [
            (whole.isel(time=slice(2, None)), "2 of the 7 starts of the test part are not in it; `stkit predict"),
            (whole.rename(sst="other"), "has no forecast of sst; it holds other"),
            (whole.isel(lead_time=slice(1, None)), "lead times 2 month; the test part is scored at 1, 2 month"),
            (whole.isel(latitude=slice(3)), "3 x 9 cells"),
            (whole.assign(sst=whole.sst.assign_attrs(units="K")), "sst in 'K'"),
            (whole.isel(lead_time=0, drop=True).assign(lead_time=whole.lead_time), "as `stkit predict` writes"),
        ]
    ):
        path = tmp_path / f"{number}.nc"
        changed.to_netcdf(path, engine="h5netcdf")
        arguments = ["eval", str(pair[0].path), "--forecasts", str(path), "--out", str(tmp_path / f"out{number}")]
        assert stkit(arguments) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_what_is_refused(pair: list[RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="two or more members; 1 was given"):
        evaluate_ensemble(pair[:1], tmp_path / "out")
    with pytest.raises(UsageError, match="is named twice"):
        evaluate_ensemble([pair[0], pair[0]], tmp_path / "out")
    text = pair[1].recipe.read_text()
    pair[1].recipe.write_text(text.replace("gap_steps: 1", "gap_steps: 2"))
    for file in pair[1].checkpoints.rglob("*.json"):
        from stkit.recipe import load

        old = pair[1].read_record()["recipe_hash"]
        file.write_text(file.read_text().replace(old, load(str(pair[1].path)).hash))
    with pytest.raises(UsageError, match="its data section is not that of"):
        evaluate_ensemble(pair, tmp_path / "out")
    paths = [str(run.path) for run in pair]
    for arguments, message in (
        (["eval", *paths], "2 runs: score each by itself, or all as one forecast with --ensemble"),
        (["eval", paths[0], "--out", "x.json"], "--out is for --ensemble and --forecasts"),
        (["eval", *paths, "--forecasts", "x.nc"], "--forecasts: name one run"),
        (["eval", *paths, "--ensemble", "--out", paths[0]], "holds a run already"),
        (["eval", paths[0], "--forecasts", str(pair[0].record)], "cannot be read as a file of forecasts"),
    ):
        assert stkit(arguments) == 2
        assert message in " ".join(capsys.readouterr().err.split())
