"""A run that is stopped and resumed is the run that was never stopped, bit for bit."""

import json
import os
import shutil
import signal

import pytest

from stkit.errors import CheckpointError, RunFailed, UsageError
from stkit.run.execute import execute, resume
from stkit.train import trainer
from tests.train.conftest import assert_same_tensors, metrics, tensors

LONG = {
    "train.steps": 20,
    "train.evaluate_every_steps": 4,
    "train.log_every_steps": 3,
    "train.ema_decay": 0.9,
    "train.clip_norm": 1.0,
    "train.schedule": {"name": "cosine", "warmup_steps": 5, "final_factor": 0.1},
    "train.early_stopping": {"patience": 50},
}
REVERSE = {
    "train.sampling": {"name": "reverse_scheduled", "first_step": 6, "second_step": 14, "decay_steps": 4},
    "train.reverse_batches": True,
    "train.accumulate": 2,
}
PLAIN = {
    "train.sampling": {"name": "none"},
    "train.optimiser": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "train.workers": 1,
    "train.precision": "bf16",
    "data.departure_from": "damped_anomaly",
    "data.crop": {"height": 5, "width": 6},
}


def interrupt_after(monkeypatch, step, number=signal.SIGINT):
    """Ctrl-C while that step is made, once."""
    original = trainer.optimiser_step

    def optimiser_step(training, **more):
        result = original(training, **more)
        if training.step == step:
            os.kill(os.getpid(), number)
            monkeypatch.setattr(trainer, "optimiser_step", original)
        return result

    monkeypatch.setattr(trainer, "optimiser_step", optimiser_step)


@pytest.mark.parametrize(
    ("changes", "at"), [({}, 10), (REVERSE, 9), (PLAIN, 10)], ids=["scheduled", "reverse", "plain"]
)
def test_twenty_steps_are_ten_and_resume_and_ten(recipe, tmp_path, monkeypatch, changes, at):
    loaded = recipe({**LONG, **changes})
    whole = execute(loaded, out=tmp_path / "whole", evaluate=False)
    interrupt_after(monkeypatch, at)
    stopped = execute(loaded, out=tmp_path / "parts", evaluate=False)
    assert stopped.stopped
    assert (stopped.training.step, stopped.exit_code) == (at, 130)
    assert stopped.resume_line == f"stkit resume {tmp_path / 'parts'}"
    assert stopped.run.read_record()["outcome"] == "stopped"

    resumed = resume(tmp_path / "parts", evaluate=False)
    assert not resumed.stopped
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    for pointer in ("latest", "best"):
        one, other = tensors(tmp_path / "whole", pointer), tensors(tmp_path / "parts", pointer)
        assert {name.split("/")[0] for name in one} == {"model", "ema", "optimiser"}
        assert_same_tensors(one, other)
    records = [run.run.read_record() for run in (whole, resumed)]
    for name in ("step", "best_step", "best_loss", "outcome", "windows_hash", "parameters"):
        assert records[0][name] == records[1][name]
    assert len(records[1]["resumed"]) == 1


def test_a_run_that_was_killed_repeats_the_steps_after_its_last_checkpoint(recipe, tmp_path, monkeypatch):
    loaded = recipe({**LONG, "train.checkpoint_every_steps": 10, "train.evaluate_every_steps": 20})
    execute(loaded, out=tmp_path / "whole", evaluate=False)
    original = trainer.optimiser_step

    def optimiser_step(training, **more):
        if training.step == 17:
            raise OSError("the node went down")
        return original(training, **more)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "optimiser_step", optimiser_step)
        with pytest.raises(OSError, match="the node went down"):
            execute(loaded, out=tmp_path / "parts", evaluate=False)
    record = json.loads((tmp_path / "parts" / "run.json").read_text())
    assert (record["outcome"], record["reason"], record["step"]) == ("failed", "OSError: the node went down", 10)
    assert [line["step"] for line in metrics(tmp_path / "parts")] == [3, 6, 9, 12, 15]
    resume(tmp_path / "parts", evaluate=False)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert_same_tensors(tensors(tmp_path / "parts"), tensors(tmp_path / "whole"))


def test_signal_of_a_scheduler(recipe, tmp_path, monkeypatch):
    interrupt_after(monkeypatch, 2, signal.SIGTERM)
    assert execute(recipe(), out=tmp_path / "run", evaluate=False).exit_code == 143


def test_a_finished_run_is_evaluated_only(recipe, tmp_path):
    done = execute(recipe({"train.steps": 3}), out=tmp_path / "run", evaluate=False)
    before = metrics(tmp_path / "run"), tensors(tmp_path / "run")
    assert not done.run.report.exists()
    again = resume(tmp_path / "run")
    assert again.scores is not None
    assert again.run.report.exists()
    assert metrics(tmp_path / "run") == before[0]
    assert_same_tensors(tensors(tmp_path / "run"), before[1])


@pytest.fixture
def finished(recipe, tmp_path):
    return execute(recipe({"train.steps": 2}), out=tmp_path / "run", evaluate=False).run


def test_nothing_to_resume(finished, tmp_path):
    with pytest.raises(UsageError, match="no such run directory"):
        resume(tmp_path / "nowhere")
    shutil.rmtree(finished.checkpoints)
    with pytest.raises(CheckpointError, match=r"no checkpoint to resume from; `stkit recipe .*/run` starts it again"):
        resume(finished.path)


def test_a_cut_checkpoint_is_refused_and_nothing_else_is_taken(finished):
    (weights,) = finished.checkpoints.glob("*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"model.safetensors: cut short or altered"):
        resume(finished.path)
    assert finished.read_record()["outcome"] == "failed"


def test_a_checkpoint_of_another_recipe_is_refused(finished, recipe, tmp_path):
    other = execute(recipe({"train.steps": 2, "seed": 9}), out=tmp_path / "other", evaluate=False).run
    shutil.rmtree(finished.checkpoints)
    shutil.copytree(other.checkpoints, finished.checkpoints)
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        resume(finished.path)


def test_a_changed_recipe_is_a_new_run(finished):
    finished.recipe.write_text(finished.recipe.read_text().replace("seed: 3", "seed: 4"))
    with pytest.raises(CheckpointError, match=r"changed since the run was started .* `stkit recipe"):
        resume(finished.path)


def test_a_full_disk_at_a_checkpoint_keeps_the_earlier_one(recipe, tmp_path, monkeypatch):
    from stkit.train import checkpoint as checkpoints

    loaded = recipe({**LONG, "train.checkpoint_every_steps": 5, "train.evaluate_every_steps": 20})
    execute(loaded, out=tmp_path / "whole", evaluate=False)
    written = checkpoints.write_synced

    def full(path, content):
        if "step-000015" in str(path):
            raise OSError(28, "No space left on device")
        written(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_synced", full)
        told = r"no space left on the disk while writing .*/step-000015;(.*\n)*.*stkit resume .*parts"
        with pytest.raises(RunFailed, match=told):
            execute(loaded, out=tmp_path / "parts", evaluate=False)
    record = json.loads((tmp_path / "parts" / "run.json").read_text())
    assert (record["outcome"], record["step"]) == ("failed", 10)
    resume(tmp_path / "parts", evaluate=False)
    assert_same_tensors(tensors(tmp_path / "parts"), tensors(tmp_path / "whole"))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
