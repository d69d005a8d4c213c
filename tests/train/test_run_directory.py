"""The run directory: nothing in it is overwritten, everything is written whole."""

import errno
import json
import re

import pytest

from stkit.errors import RunFailed, UsageError
from stkit.run import files
from stkit.run.directory import RunDirectory, list_runs, new_path
from stkit.run.record import new_record
from stkit.train.launch import LAUNCHED, processes_wanted, resume_line


class Loaded:
    """What a run directory needs of a loaded recipe."""

    name = "small"
    layers = (("recipes/small.yaml", "train: {steps: 3}\n"), ("overlay", "seed: 1\n"))
    overrides = ("seed=2",)
    hash = "a" * 64

    class recipe:
        summary, seed = "small", 2

        class train:
            steps = 3

    def resolved_yaml(self):
        return "seed: 2\n"


@pytest.fixture
def run(tmp_path):
    run = RunDirectory.create(Loaded(), tmp_path / "run")
    run.update_record(**new_record(Loaded()))
    return run


def test_the_recipe_and_its_sources_are_kept(run):
    assert run.recipe.read_text() == "seed: 2\n"
    assert (run.source / "01-small.yaml").read_text() == "train: {steps: 3}\n"
    assert (run.source / "02-overlay.yaml").read_text() == "seed: 1\n"
    assert (run.source / "overrides.txt").read_text() == "seed=2\n"


def test_the_record_says_what_ran_where(run):
    record = run.read_record()
    assert record["outcome"] == "running"
    assert record["recipe_hash"] == Loaded.hash
    assert {"torch", "accelerate", "stkit-torch"} <= set(record["versions"])
    assert {"host", "python", "seed", "started", "command", "git"} <= set(record)
    run.update_record(outcome="finished")
    assert run.read_record() == {**record, "outcome": "finished"}


def test_default_place_is_named_after_the_recipe_and_the_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = RunDirectory.create(Loaded())
    assert re.fullmatch(r"runs/small/\d{8}-\d{6}", str(first.path))
    while (second := new_path("small")).name[:15] != first.path.name:
        first = RunDirectory.create(Loaded())  # the second went by: once more
    assert second.name == f"{first.path.name}-2"


def test_an_occupied_place_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match=r"holds a run already, and nothing is overwritten.*`stkit resume"):
        RunDirectory.create(Loaded(), run.path)
    (tmp_path / "other").mkdir()
    RunDirectory.create(Loaded(), tmp_path / "other")
    with pytest.raises(UsageError, match="is not empty"):
        RunDirectory.create(Loaded(), tmp_path)
    with pytest.raises(UsageError, match="this is a file"):
        RunDirectory.create(Loaded(), run.recipe)


def test_opening_what_is_no_run(run, tmp_path):
    assert RunDirectory.open(run.path) == run
    with pytest.raises(UsageError, match=r"no such run directory; runs there: .*/run"):
        RunDirectory.open(tmp_path / "ran")
    with pytest.raises(UsageError, match=r"not a run directory .*; runs below it: .*/run"):
        RunDirectory.open(tmp_path)
    run.record.write_text("{")
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        RunDirectory.open(run.path).read_record()


def test_metrics_are_rewound_to_a_checkpoint(run):
    for step in (1, 2, 3):
        run.append_metrics(step=step, kind="train", loss=1 / step)
    with open(run.metrics, "a") as stream:
        stream.write('{"step": 4, "kin')  # the process was killed while it wrote
    assert [line["step"] for line in run.read_metrics()] == [1, 2, 3]
    run.rewind_metrics(2)
    assert [line["step"] for line in run.read_metrics("train")] == [1, 2]
    assert run.read_metrics("validation") == []
    superseded = (run.path / "metrics.superseded.jsonl").read_text().splitlines()
    assert json.loads(superseded[0])["step"] == 3
    assert len(superseded) == 2


def test_list_of_runs(run, tmp_path):
    run.update_record(step=3, best_step=2, best_loss=0.5, device="cpu", outcome="finished")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (summary,) = list_runs(tmp_path)
    assert summary.path == str(run.path)
    assert (summary.name, summary.outcome, summary.step, summary.steps) == ("small", "finished", 3, 3)
    assert summary.as_dict()["best_loss"] == 0.5
    assert list_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize("write", ["write_json", "write_text"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, write):
    file = tmp_path / "run.json"
    file.write_text("old")

    def full(handle):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunFailed, match=r"no space left on the disk while writing .*run.json"):
        getattr(files, write)(file, "new")
    assert file.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


@pytest.fixture
def unlaunched(monkeypatch):
    for name in ("LOCAL_RANK", "WORLD_SIZE", LAUNCHED):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_how_many_processes(unlaunched):
    assert processes_wanted(None, None) == 1
    assert processes_wanted(None, 3) == 3
    with pytest.raises(UsageError, match="give one of them"):
        processes_wanted(1, 1)
    unlaunched.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="has started this one already"):
        processes_wanted(None, 2)


@pytest.mark.parametrize("there", [0, 2])
def test_gpus_that_are_not_there(unlaunched, there):
    import torch

    unlaunched.setattr(torch.cuda, "device_count", lambda: there)
    unlaunched.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    found = "this machine has 2: GPU 0, GPU 1" if there else "this machine has none"
    with pytest.raises(UsageError, match=rf"--gpus 4: {found}.*`--processes 4` runs on CPU"):
        processes_wanted(4, None)
    if there:
        assert processes_wanted(2, None) == 2


def test_the_line_that_resumes_starts_processes_as_before(unlaunched):
    assert resume_line("runs/a b") == "stkit resume 'runs/a b'"
    unlaunched.setenv("WORLD_SIZE", "4")
    unlaunched.setenv("LOCAL_WORLD_SIZE", "2")
    assert resume_line("runs/a") == "torchrun --nproc-per-node 2 -m stkit resume runs/a"
    unlaunched.setenv(LAUNCHED, "--gpus 4")
    assert resume_line("runs/a") == "stkit resume runs/a --gpus 4"
