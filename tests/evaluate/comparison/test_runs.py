"""``stkit compare`` on run directories: grouping, names, what is refused, and the report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from stkit.cli.main import run as stkit
from stkit.errors import UsageError
from stkit.evaluate.comparison.runs import differences, read_groups, training_seconds
from stkit.evaluate.window_errors import ErrorsFile, read_errors
from stkit.run.directory import RunDirectory

Capture = pytest.CaptureFixture[str]


def another(run: RunDirectory, path: Path, *, seed: int, name: str = "tiny", steps: int = 2) -> RunDirectory:
    """A copy that says that it is another run."""
    shutil.copytree(run.path, path)
    copy = RunDirectory(path)
    text = copy.recipe.read_text().replace("seed: 3", f"seed: {seed}").replace("steps: 2\n", f"steps: {steps}\n")
    copy.recipe.write_text(text)
    copy.update_record(name=name)
    return copy


@pytest.fixture
def runs(trained: RunDirectory, tmp_path: Path) -> list[RunDirectory]:
    """Two seeds of one recipe, and one of another."""
    return [
        another(trained, tmp_path / "a3", seed=3),
        another(trained, tmp_path / "a4", seed=4),
        another(trained, tmp_path / "b", seed=3, name="other", steps=7),
    ]


def test_seeds_of_one_recipe_belong_together(runs: list[RunDirectory]) -> None:
    one, two = read_groups([run.path for run in runs])
    assert (one.name, one.seeds, two.name, two.seeds) == ("tiny", (3, 4), "other", (3,))
    assert one.runs == (str(runs[0].path), str(runs[1].path))
    assert one.cost.parameters == runs[0].read_record()["parameters"]
    assert one.cost.flops is not None
    assert one.cost.flops > 0
    assert one.cost.steps == (2, 2)


def test_recipes_of_one_name_are_told_apart(trained: RunDirectory, tmp_path: Path) -> None:
    one = another(trained, tmp_path / "one", seed=3)
    two = another(trained, tmp_path / "two", seed=3, steps=7)
    assert [group.name for group in read_groups([one.path, two.path])] == [
        "tiny (train.steps=2)",
        "tiny (train.steps=7)",
    ]


def test_what_differs_is_told_by_its_name() -> None:
    plain = {"model": {"cell": {"name": "st_lstm", "kernel": 5}, "transition": None, "layers": [{"width": 4}]}}
    mim = {"model": {"cell": {"name": "st_lstm", "kernel": 3}, "transition": {"name": "mim"}, "layers": [{"width": 8}]}}
    assert differences([plain, mim]) == [
        {"model.cell.kernel": "5", "model.transition": "none", "model.layers": "[4]"},
        {"model.cell.kernel": "3", "model.transition": "mim", "model.layers": "[8]"},
    ]
    assert differences([plain, plain]) == [{}, {}]


def test_a_seed_counts_once(runs: list[RunDirectory]) -> None:
    with pytest.raises(UsageError, match=r"the same recipe with the same seed \(3\); each seed counts once"):
        read_groups([runs[0].path, runs[0].path])


def test_seconds_of_a_run_that_was_resumed(run: RunDirectory) -> None:
    run.metrics.unlink()
    assert training_seconds(run) is None
    for seconds in (1.0, 5.0, 0.5, 2.0, 0.25):
        run.append_metrics(step=1, kind="train", seconds=seconds)
    assert training_seconds(run) == 5.0 + 2.0 + 0.25


def test_compare_tells_and_writes_a_report(runs: list[RunDirectory], tmp_path: Path, capsys: Capture) -> None:
    report = tmp_path / "report.html"
    assert stkit(["compare", *(str(run.path) for run in runs), "--out", str(report)]) == 0
    told = capsys.readouterr().out
    assert "tiny, seed 3" in told
    assert "Nothing can be ranked" in told
    page = report.read_text()
    assert "Nothing can be ranked" in page
    assert "data:image/png;base64" in page
    assert not re.search(r'(src|href)="https?:', page), "it opens without a network"
    assert stkit(["compare", str(runs[0].path), "--out", str(report)]) == 2
    assert "--overwrite writes over it" in capsys.readouterr().err
    assert stkit(["compare", str(runs[0].path), "--out", str(report), "--overwrite", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["report"] == str(report)
    assert {one["word"] for one in said["compared"]} == {"not ranked"}
    assert [one["second"] for one in said["compared"]] == ["persistence", "climatology", "damped_anomaly", "eof_linear"]


def test_the_report_has_a_place_of_its_own(
    runs: list[RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert stkit(["compare", str(runs[0].path), "--score", "mae"]) == 0
    (written,) = (tmp_path / "comparisons").iterdir()
    assert written.suffix == ".html"
    told = capsys.readouterr().out
    assert "MAE [°C] of sst" in told
    assert f"comparisons/{written.name}" in told


def test_other_windows_are_one_message(runs: list[RunDirectory], tmp_path: Path, capsys: Capture) -> None:
    one, _, other = runs
    errors = read_errors(other.errors)
    other.errors.unlink()
    layout = errors.layout.__class__(**{**vars(errors.layout), "windows_hash": "f" * 16})
    with ErrorsFile(other.errors, layout) as file:
        file.write(0, errors.errors)
    report = tmp_path / "report.html"
    assert stkit(["compare", str(one.path), str(other.path), "--out", str(report)]) == 2
    assert re.search(rf"error: {other.path}: other test windows than {one.path} \(hash ffff", capsys.readouterr().err)
    assert not report.exists()


def test_bad_input_is_one_message(runs: list[RunDirectory], tmp_path: Path, capsys: Capture) -> None:
    runs[1].errors.unlink()
    np.save(tmp_path / "x.npy", np.zeros(1))
    for arguments, message in (
        ([], "missing argument"),
        ([str(tmp_path / "nothing")], "no such run directory"),
        ([str(tmp_path)], "not a run directory"),
        ([str(runs[0].path), str(runs[1].path)], "no errors by window yet"),
        ([str(runs[0].path), "--out", str(tmp_path)], "this is a folder"),
        ([str(runs[0].path), "--score", "csi_1"], "is not scored by it; it knows mse, mae, rmse"),
        ([str(runs[0].path), "--score", "bias"], "it is best near 0, so a difference does not say which is better"),
    ):
        assert stkit(["compare", *arguments]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("error:") == 1
