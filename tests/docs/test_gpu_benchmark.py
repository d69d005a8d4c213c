"""The benchmark of GPUs without one: it says so, its code works on a processor, and its record becomes tables."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import stkit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import gpu

        return gpu


def test_without_a_gpu_it_says_so_and_ends() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith("There is no GPU here, so nothing was measured")


def measured(gpu: ModuleType) -> dict[str, Any]:
    """What the benchmark keeps of one case; stkit stands for both sides."""
    clock = gpu.Clock(torch.device("cpu"))
    frames = torch.rand(1, 2 * gpu.STEPS, 1, 8, 8)
    forecaster = stkit.build("predrnn", layers=[2], cell={"kernel": 3}, patch=4)
    (side,) = gpu.our_sides(forecaster, frames, "fp32")
    sides = [side._replace(name=name) for name in ("openstl", "stkit graph")]
    row = {"model": "predrnn", "precision": "fp32", "batch": 1}
    row |= {work: gpu.compare(sides, work, clock) for work in gpu.WORKS}
    assert gpu.line(row).startswith("predrnn    fp32 batch  1: | forecast openstl ")
    return {
        "about": {"card": "H100", "torch": "2", "cuda": "13", "cudnn": "9", "date": "2026-01-01"},
        "limits": gpu.limits(clock, True),
        "rows": [row, {**row, "batch": 4, "failed": "RuntimeError: no. More"}],
        "launches": [
            {"model": "predrnn", "work": "train", "side": "openstl", "launches": 70.04},
            {"model": "predrnn", "work": "forecast", "side": "openstl", "launches": 30.0},
        ],
        "operations": {"predrnn": {"forecast": 1e6, "train": 3e6}},
        "left_out": [["mim", "fp32", 64]],
        "check": [
            {
                "model": "predrnn",
                "precision": "bf16",
                "engine": "auto",
                "graph": True,
                "outputs": 0.0123,
                "gradients": 1.0,
            }
        ],
    }


def test_a_record_becomes_tables(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import gpu_text

    monkeypatch.setattr(gpu_text, "RECORD", tmp_path / "gpu.json")
    for table in (gpu_text.times, gpu_text.launched, gpu_text.launches, gpu_text.errors, gpu_text.machine):
        assert list(table(None, "fp32,train")) == ["No GPU was measured yet."]
    gpu_text.RECORD.write_text(json.dumps(measured(gpu)))
    head, rule, row, failed, _, missing = gpu_text.times(None, "fp32,forecast")
    assert head.count("|") == rule.count("|") == row.count("|") == failed.count("|")
    assert row.startswith("| `predrnn` | 1 | ")
    assert " % | " in row
    assert "| RuntimeError: no |" in failed
    assert list(gpu_text.times(None, "tf32,train")) == ["Not measured, for want of time on the card."]
    assert missing == "Not measured, for want of time on the card: `mim` at batch 64."
    assert list(gpu_text.launches(None, ""))[-1] == "| `predrnn` | 30.0 |  | 70.0 |  |"
    assert "µs for each kernel that it launches" in list(gpu_text.launched(None, "fp32"))[-1]
    assert list(gpu_text.errors(None, ""))[-1] == "| `predrnn` | bf16 |  |  | 1.2e-02 |  |  | 1.0e+00 |"
    assert "H100, torch 2, CUDA 13" in next(iter(gpu_text.machine(None, "")))


def test_new_figures_join_old_ones_of_the_same_card(gpu: ModuleType) -> None:
    import gpu_record

    old = measured(gpu) | {"hidden": 128}
    row, failed = old["rows"]
    again = {**row, "batch": 4, "forecast": {}}
    asked = [["mim", "fp32", 64], ["predrnn", "fp32", 1], ["predrnn", "tf32", 1]]
    new = {**old, "about": {**old["about"], "date": "2026-02-03T04:05Z"}, "rows": [again], "left_out": asked}
    del new["check"], new["limits"]
    whole = gpu_record.merged(old, new)
    assert whole["rows"] == [again, {**row, "date": "2026-01-01"}]
    assert [check["date"] for check in whole["check"]] == ["2026-01-01"]
    assert [whole[name] for name in ("about", "limits")] == [new["about"], old["limits"]]
    assert whole["left_out"] == [["mim", "fp32", 64], ["predrnn", "tf32", 1]]
    assert gpu_record.merged(whole, {**new, "rows": [failed]})["rows"][1]["date"] == "2026-01-01"
    for other in ({"hidden": 4}, {"about": {**new["about"], "card": "another"}}):
        assert gpu_record.merged(old, {**new, **other}) == {**new, **other}
    assert gpu_record.merged({}, new) == new


def test_rows_of_another_day_are_told(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import gpu_text

    record = measured(gpu)
    record["rows"][1]["date"] = "2025-12-31"
    monkeypatch.setattr(gpu_text, "RECORD", tmp_path / "gpu.json")
    gpu_text.RECORD.write_text(json.dumps(record))
    assert "Measured on 2025-12-31, not with the rest: `predrnn` at batch 4." in gpu_text.times(None, "fp32,forecast")


def test_the_kernels_of_a_step_are_told(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def networks(*_: Any) -> tuple[Any, Any]:
        return None, stkit.build("predrnn", layers=[2], cell={"kernel": 3}, patch=4)

    monkeypatch.setattr(gpu, "networks", networks)
    monkeypatch.setattr(gpu, "their_side", lambda *_: gpu.Side("openstl", dict.fromkeys(gpu.WORKS, int), lambda: 0.0))
    asked = Namespace(models=["predrnn"], precisions=["fp32"], batches=[1], tiny=True)
    gpu.kernels(asked, gpu.Clock(torch.device("cpu")))
    told = capsys.readouterr().out
    assert "predrnn fp32 batch 1, train, stkit: " in told
    assert " %" in told
    assert "aten::" in told


def test_frames_are_shown_as_in_a_training(gpu: ModuleType) -> None:
    import gpu_sides

    shown = gpu_sides.sampled(torch.zeros(3, 20, 1, 4, 4))
    assert shown.shape == (3, 18)
    assert shown[:, :9].all()
    assert not shown.all()
