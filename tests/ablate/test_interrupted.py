"""An ablation in real processes: Ctrl-C in the middle of two cells, and the same command again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stkit.cli.main import run as stkit
from stkit.run.directory import RunDirectory

pytestmark = pytest.mark.distributed

STEPS = 200
"""Enough that the signal comes before the end on a fast machine, too."""


def lines(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def test_stopped_in_the_middle_of_a_cell_and_gone_on_with(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    out = tmp_path / "out"
    grid = ["--grid", "model.cell.kernel=1,3", "--seeds", "1", "--budget", f"{STEPS}steps", "--jobs", "2"]
    arguments = ["ablate", str(recipe), "train.log_every_steps=1", *grid, "--out", str(out), "--json"]
    runs = [out / "runs" / f"model.cell.kernel-{kernel}" / "seed-5" for kernel in (1, 3)]

    process = subprocess.Popen(
        [sys.executable, "-m", "stkit", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(6000):
        if process.poll() is not None or all(lines(run) > 2 for run in runs):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGINT, told
    assert "the same command goes on" in told
    stopped = json.loads(said)
    assert (stopped["outcome"], stopped["study"]) == ("stopped", None)
    records = [RunDirectory(run).read_record() for run in runs]
    assert [record["outcome"] for record in records] == ["stopped", "stopped"]
    reached = [record["step"] for record in records]
    assert all(0 < step < STEPS for step in reached)
    assert not (out / "report.html").exists()

    assert stkit(arguments) == 0
    finished = json.loads(capsys.readouterr().out)
    assert [run["path"] for run in finished["runs"]] == [str(run) for run in runs], "in the same directories"
    for run, before in zip(runs, records, strict=True):
        record = RunDirectory(run).read_record()
        assert (record["outcome"], record["step"]) == ("finished", STEPS)
        assert record["started"] == before["started"]
        assert len(record["resumed"]) == 1
        steps = [line["step"] for line in RunDirectory(run).read_metrics("train")]
        assert steps == sorted(set(steps)), "no step is taken twice"
    for member, run in zip(finished["study"]["members"], runs, strict=False):
        scores = json.loads((run / "scores.json").read_text())["variables"]["sst"]["scores"]["model"]["rmse"]
        (row,) = member["scores"]["sst"]
        assert [value**0.5 for value in row] == pytest.approx(scores)
    assert (out / "report.html").exists()
