"""Several processes are one: started by stkit, torchrun or accelerate, on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from stkit.cli.main import run
from stkit.run.execute import execute, resume
from tests.train.conftest import metrics, tensors

pytestmark = pytest.mark.distributed

SOURCE = Path(__file__).parents[2]
STKIT = [sys.executable, "-m", "stkit"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "stkit"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
CHANGES = {
    "train.steps": 4,
    "train.ema_decay": 0.9,
    "train.clip_norm": 1.0,
    "train.accumulate": 2,
    "train.schedule": {"name": "cosine", "warmup_steps": 2},
}


@pytest.fixture
def environment(monkeypatch):
    """As a user's shell has it, but for the threads of the processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE", "STKIT"))}
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        kept.pop(name, None)
    kept |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "160"}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    return kept


@pytest.fixture
def file(recipe, tmp_path):
    """The small recipe as a file."""

    def write(changes=None):
        path = tmp_path / "small.yaml"
        with open(path, "w") as stream:
            YAML().dump(recipe({**CHANGES, **(changes or {})}).recipe.model_dump(mode="json"), stream)
        return path

    return write


def call(command, environment, folder, code=0):
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def alone(recipe, tmp_path):
    """The same recipe in this process."""

    return lambda: execute(recipe(CHANGES), out=tmp_path / "alone", evaluate=False).run.path


def assert_same_run(one, other):
    """To float32 rounding; the learning rates exactly."""
    for a, b in zip(metrics(one), metrics(other), strict=True):
        assert (a["step"], a["kind"], a.get("lr")) == (b["step"], b["kind"], b.get("lr"))
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-6)
        assert a.get("grad_norm", 0) == pytest.approx(b.get("grad_norm", 0), rel=2e-5)
    for name, tensor in tensors(one).items():
        assert torch.allclose(tensor, tensors(other)[name], rtol=1e-4, atol=2e-6), name


def test_two_processes_are_one(file, alone, environment, tmp_path):
    done = call([*STKIT, "recipe", file(), "--processes", "2", "--out", "run", "--json"], environment, tmp_path)
    told = json.loads(done.stdout)  # one process tells, and nothing else is on stdout
    assert (told["outcome"], told["step"]) == ("finished", 4)
    assert_same_run(tmp_path / "run", alone())
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert sum("new run" in line for line in lines) == 1
    assert sum("step 2/4 " in line for line in lines) == 1
    assert sum("step 2/4 " in line for line in done.stderr.splitlines()) == 1
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["world_size"], record["device"], record["outcome"]) == (2, "cpu", "finished")
    assert record["command"].startswith("stkit recipe")
    assert record["command"].endswith("--processes 2 --out run --json")
    assert len(list((tmp_path / "run" / "checkpoints").glob("step-*/manifest.json"))) == 2
    scores = told["scores"]
    assert scores["windows"] == 5
    one = call([*STKIT, "eval", "run", "--json"], environment, tmp_path)
    assert json.loads(one.stdout)["windows"] == 5


def test_torchrun(file, alone, environment, tmp_path):
    """Under a limit of memory and with layers computed again: the numbers are those without."""
    path = str(file({"train.memory_limit_gb": 1, "train.recompute": "layer"}))
    call([*TORCHRUN, "recipe", path, "--out", "run", "--no-eval"], environment, tmp_path)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["world_size"] == 2
    assert record["memory"]["recompute"] == "layer"
    assert 0 < record["memory"]["estimated_gb"] < 1
    assert_same_run(tmp_path / "run", alone())


def test_every_process_trains_on_its_own_windows(recipe):
    """Shares of a batch are disjoint, and together they are what one process takes."""
    from stkit.data.prepare import prepare

    data = prepare(recipe().recipe.data, 3)
    for step in range(12):
        shares = [data.stream(3, 4, rank, 2).indices(step) for rank in (0, 1)]
        assert [*shares[0], *shares[1]] == data.stream(3, 4).indices(step)
        assert len({*shares[0], *shares[1]}) == 4


def test_accelerate_launch_starts_one_process_on_a_cpu_and_says_so(file, alone, environment, tmp_path):
    launch = [*ACCELERATE, "--cpu", "--num_processes", "2", "-m", "stkit"]
    done = call([*launch, "recipe", file(), "--out", "run", "--no-eval"], environment, tmp_path)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["world_size"] == 1
    assert "starts one process only" in done.stderr
    assert "--processes N" in done.stderr
    assert metrics(tmp_path / "run") == metrics(alone())


def test_a_run_goes_on_with_another_number_of_processes(file, environment, tmp_path, monkeypatch):
    path = file({"train.steps": 60, "train.evaluate_every_steps": 60})
    command = [*STKIT, "recipe", path, "--out", "run", "--no-eval", "--processes", "2"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_for(tmp_path / "run" / "log.txt", "step 3/60 ")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert told.rstrip().endswith("stkit resume run --processes 2")
    assert "Traceback" not in told
    monkeypatch.chdir(tmp_path)
    done = resume("run", evaluate=False)
    assert done.training.step == 60
    assert [line["step"] for line in metrics("run") if line["kind"] == "train"] == [*range(1, 61)]
    assert json.loads(Path("run/run.json").read_text())["world_size"] == 1


def test_ctrl_c_saves_and_prints_the_line_that_resumes(file, environment, tmp_path):
    path = file({"train.steps": 100_000, "train.evaluate_every_steps": 100_000})
    command = [*STKIT, "recipe", path, "--out", "run", "--no-eval"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_for(tmp_path / "run" / "log.txt", "step 3/100000 ")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    *_, said, line = told.splitlines()
    step = json.loads((tmp_path / "run" / "checkpoints" / "latest.json").read_text())["step"]
    assert said == f"stopped after step {step}; the checkpoint is saved. To go on:"
    assert line.strip() == "stkit resume run"
    with subprocess.Popen(
        [*STKIT, *line.split()[1:]], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(tmp_path / "run" / "log.txt", f"step {step + 2}/100000 ")
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 143, told
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["outcome"], record["reason"]) == ("stopped", "interrupted")
    assert record["step"] > step


def wait_for(path, text, seconds=120):
    end = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, f"no {text!r} in {path}"
        time.sleep(0.1)


def test_an_error_in_several_processes_is_told_once(file, environment, tmp_path):
    command = [*STKIT, "recipe", file(), "train.batch_size=3", "--processes", "2", "--out", "run"]
    done = call(command, environment, tmp_path, code=2)
    assert done.stderr.count("error:") == 1
    assert "error: train.batch_size: 3 windows cannot be shared equally" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "2"], "error: --gpus 2: this machine has none that torch can use; `--processes 2` runs on CPU"),
        (["--gpus", "1", "--processes", "1"], "error: --gpus and --processes: give one of them"),
        (["train.precision=fp16"], "error: train.precision: fp16 needs a GPU and there is none here; use 'bf16'"),
    ],
)
def test_requests_that_do_not_fit_this_machine(file, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert run(["recipe", str(file()), *arguments, "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr()
    assert told.err.count("error:") == 1
    assert message in told.err
    assert told.out == ""
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_in_several_processes_tells_it_once(file, environment, tmp_path):
    path = file({"train.optimiser": {"name": "sgd", "lr": 1e30}})
    command = [*STKIT, "recipe", path, "train.clip_norm=null", "--out", "run", "--processes", "2"]
    done = call(command, environment, tmp_path, code=1)
    assert done.stderr.count("error:") == 1
    assert "is not finite at step" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["outcome"] == "failed"
