"""An ablation from its plan to its report, on runs that are made up: what is asked for, used again, refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stkit.ablate import report
from stkit.ablate.budget import Pace
from stkit.ablate.directory import AblationDirectory
from stkit.ablate.pool import Ended, Task
from stkit.cli.main import run as stkit
from stkit.evaluate.comparison.write import write_page
from stkit.run.directory import RunDirectory, list_runs
from tests.ablate.conftest import QuickPool

Capture = pytest.CaptureFixture[str]
Commands = list[tuple[str, ...]]
GRID = ["--grid", "model.cell.kernel=1,3", "--budget", "4steps"]


@pytest.fixture
def out(recipe: Path, tmp_path: Path, quick: Commands, capsys: Capture) -> Path:
    """Two cells with two seeds."""
    assert ablate(recipe, tmp_path / "out") == 0
    quick.clear()
    capsys.readouterr()
    return tmp_path / "out"


def ablate(recipe: Path, out: Path, *arguments: str, seeds: int = 2) -> int:
    return stkit(["ablate", str(recipe), *(arguments or GRID), "--seeds", str(seeds), "--out", str(out), "--json"])


def test_what_it_leaves(out: Path) -> None:
    directory = AblationDirectory(out)
    record = directory.read()
    assert [cell["name"] for cell in record["cells"]] == ["model.cell.kernel=1", "model.cell.kernel=3"]
    assert record["seeds"] == [5, 6]
    assert list(record["lengths"].values()) == [{"steps": 4, "validations": 4}] * 2
    runs = {Path(run.path).relative_to(out): run for run in list_runs(directory.runs)}
    assert {str(path) for path in runs} == {f"runs/model.cell.kernel-{k}/seed-{s}" for k in (1, 3) for s in (5, 6)}
    assert {(run.outcome, run.step, run.steps) for run in runs.values()} == {("finished", 4, 4)}
    content = json.loads(directory.comparison.read_text())
    assert content["windows"] == 22
    assert [member["name"] for member in content["members"]][2:] == ["persistence", "climatology"]
    assert {one["second"] for one in content["compared"]} == {"model.cell.kernel=1", "persistence", "climatology"}
    assert content["rankable"]
    assert content["compared"][0]["word"] in ("better", "worse", "not distinguishable")
    (first, second, *_) = content["members"]
    assert first["cost"]["parameters"] < second["cost"]["parameters"]
    assert first["cost"]["flops"] < second["cost"]["flops"]
    assert first["cost"]["steps"] == [4, 4]
    assert all(seconds > 0 for seconds in first["cost"]["seconds"])


def test_the_report(recipe: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write_page", write_page)
    assert ablate(recipe, out) == 0
    page = AblationDirectory(out).report.read_text()
    assert "Against model.cell.kernel=1" in page
    assert "model.cell.kernel=3, seed 6" in page
    assert "2 cells, 2 seeds each, 4steps a run" in page
    assert "What was varied" in page
    assert page.count("data:image/png;base64") >= 8, "forest and lead times, wide and narrow, light and dark"
    assert not re.search(r'(src|href)="https?:', page)
    assert "/tmp/stkit-ablate" not in page


def test_every_cell_has_its_recipe(out: Path) -> None:
    texts = [(out / "cells" / f"model.cell.kernel-{kernel}.yaml").read_text() for kernel in (1, 3)]
    assert [re.search(r"^    kernel: (\d)$", text, re.MULTILINE)[1] for text in texts] == ["1", "3"]
    assert all("steps: 4\n" in text and "early_stopping: null" in text for text in texts)
    run = RunDirectory(out / "runs" / "model.cell.kernel-1" / "seed-6")
    assert run.recipe.read_text() == texts[0].replace("seed: 5", "seed: 6")


def test_finished_runs_are_used_again(recipe: Path, out: Path, quick: Commands, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in (out / "runs").rglob("*") if path.is_file()}
    comparison = (out / "comparison.json").read_bytes()
    assert ablate(recipe, out) == 0
    assert quick == []
    said = json.loads(capsys.readouterr().out)
    assert [run["reused"] for run in said["runs"]] == [True] * 4
    assert {path: path.read_bytes() for path in (out / "runs").rglob("*") if path.is_file()} == before
    assert (out / "comparison.json").read_bytes() == comparison


def test_grid_and_seeds_may_grow(recipe: Path, out: Path, quick: Commands, capsys: Capture) -> None:
    grid = ["--grid", "train.optimiser.lr=1e-3", "model.cell.kernel=3", "--budget", "4steps"]
    assert ablate(recipe, out, *grid, seeds=3) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(run["seed"], run["reused"]) for run in said["runs"]] == [(5, True), (6, True), (7, False)]
    assert len(quick) == 1
    assert said["study"]["members"][0]["name"] == "train.optimiser.lr=1e-3 model.cell.kernel=3"
    assert said["study"]["members"][0]["seeds"] == [5, 6, 7]


def test_a_run_without_errors_or_weights_is_done_again(
    recipe: Path, out: Path, quick: Commands, capsys: Capture
) -> None:
    runs = out / "runs" / "model.cell.kernel-1"
    (runs / "seed-5" / "errors.nc").unlink()
    shutil.rmtree(runs / "seed-6" / "checkpoints")
    RunDirectory(runs / "seed-6").update_record(outcome="running")
    assert ablate(recipe, out) == 0
    again, anew = quick
    assert again[3:5] == ("resume", str(runs / "seed-5"))
    assert anew[3] == "recipe"
    assert anew[-3:-1] == ("--out", str(runs / "seed-6-2"))
    assert json.loads(capsys.readouterr().out)["outcome"] == "finished"
    assert (runs / "seed-5" / "errors.nc").exists()
    assert (runs / "seed-6").exists(), "nothing is thrown away"


def test_a_run_that_fails_is_told_and_the_others_go_on(
    recipe: Path, tmp_path: Path, quick: Commands, capsys: Capture
) -> None:
    out = tmp_path / "out"
    grid = ["--grid", "train.optimiser.lr=1e-3,1e30", "--budget", "4steps"]
    assert ablate(recipe, out, *grid, seeds=1) == 1
    told = capsys.readouterr()
    said = json.loads(told.out)
    assert said["outcome"] == "failed"
    good, bad = said["runs"]
    assert good["failed"] is None
    assert "not finite" in bad["failed"]
    assert "failed: train.optimiser.lr=1e30, seed 5: the" in told.err
    assert [member["name"] for member in said["study"]["members"]][:1] == ["train.optimiser.lr=1e-3"]
    assert "train.optimiser.lr=1e30, seed 5, failed: the" in (out / "report.html").read_text()


def test_seconds_become_steps_once_and_stay(
    recipe: Path, tmp_path: Path, quick: Commands, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    paces = iter([Pace(2.0, 0.5), Pace(5.0, 0.5)])
    timed: list[str] = []

    def timing(self: QuickPool, tasks: list[Task]) -> Iterator[Ended]:
        for task in tasks:
            timed.append(task.name)
            pace = next(paces)
            said = json.dumps({"step_seconds": pace.step_seconds, "validation_seconds": pace.validation_seconds})
            yield Ended(task, 0, said, "", 1.0)

    made_up = QuickPool.run

    def run(self: QuickPool, tasks: list[Task]) -> Iterator[Ended]:
        return (timing if tasks and "stkit.ablate.timing" in tasks[0].command else made_up)(self, tasks)

    monkeypatch.setattr(QuickPool, "run", run)
    out = tmp_path / "out"
    grid = ["--grid", "model.cell.kernel=1,3", "--budget", "12s"]
    assert ablate(recipe, out, *grid, seeds=1) == 0
    assert timed == ["model.cell.kernel=1", "model.cell.kernel=3"]
    assert [value["steps"] for value in AblationDirectory(out).lengths().values()] == [5, 2]
    steps = [member["cost"]["steps"] for member in json.loads(capsys.readouterr().out)["study"]["members"][:2]]
    assert steps == [[5], [2]]
    assert ablate(recipe, out, *grid, seeds=1) == 0
    assert len(timed) == 2, "another time would give other steps, and the seeds would not be alike"
    paces = iter([Pace(2.0, 0.5), Pace(11.9, 0.5)])
    capsys.readouterr()
    assert ablate(recipe, tmp_path / "small", *grid, seeds=1) == 2
    assert re.search(
        r"error: --budget 12s: too small for one evaluation of 'model.cell.kernel=3': a step takes 11.9 s",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "small" / "runs").exists(), "nothing was trained"


def test_another_ablation_is_not_mixed_in(recipe: Path, out: Path, quick: Commands, capsys: Capture) -> None:
    assert ablate(recipe, out, *GRID[:2], "--budget", "5steps") == 2
    assert re.search(r"--out .*: holds another ablation \(.*tiny.yaml, budget 4steps\)", capsys.readouterr().err)
    assert stkit(["ablate", str(recipe), "train.batch_size=2", *GRID, "--out", str(out)]) == 2
    assert "holds another ablation" in capsys.readouterr().err
    assert quick == []


def test_bad_places_are_one_message(recipe: Path, tmp_path: Path, quick: Commands, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ablation.json").write_text("{")
    for place, message in (
        ("file", "this is a file"),
        ("full", "is not empty and holds no ablation"),
        ("broken", "cannot be read"),
    ):
        assert ablate(recipe, tmp_path / place) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("error:") == 1
    assert quick == []


def test_two_at_once_are_refused(recipe: Path, out: Path, quick: Commands, capsys: Capture) -> None:
    with AblationDirectory(out).locked() as number:
        assert os.fstat(number)
        assert ablate(recipe, out) == 2
    assert "another process is running this ablation" in capsys.readouterr().err
    assert ablate(recipe, out) == 0


def test_a_dry_run_writes_nothing(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert stkit(["ablate", str(recipe), *GRID, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "2 cells with 3 seeds: 6 runs of 4steps, in ablations/tiny-" in told
    assert stkit(["ablate", str(recipe), *GRID, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [cell["values"] for cell in said["cells"]] == [{"model.cell.kernel": "1"}, {"model.cell.kernel": "3"}]
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_one_message(recipe: Path, tmp_path: Path, quick: Commands, capsys: Capture) -> None:
    for arguments, message in (
        ([str(recipe)], "missing option '--grid'"),
        (["nothing", *GRID], "no recipe is called 'nothing'"),
        ([str(recipe), *GRID, "--seeds", "0"], "--seeds 0"),
        ([str(recipe), *GRID, "--jobs", "0"], "'--jobs'"),
        ([str(recipe), "--grid", "attention"], "expected AXIS=VALUE,VALUE"),
        ([str(recipe), "--grid", "attention=no"], "there is no attention module 'no'"),
        ([str(recipe), *GRID[:2], "--budget", "0s"], "too small for one evaluation"),
    ):
        assert stkit(["ablate", *arguments, "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("error:") == 1
    assert quick == []
    assert not (tmp_path / "out").exists()
