"""Training in one process: every field of the recipe's section acts, and what can go wrong is told."""

import errno
import json
import logging
import math

import pytest
import torch

from stkit.errors import RecipeError, RunFailed, UsageError
from stkit.recipe.sections.train import TrainConfig
from stkit.run import files
from stkit.run.execute import execute
from stkit.run.load import load
from stkit.train import step as step_module
from stkit.train import trainer
from stkit.train.device import make_accelerator
from stkit.train.objective import reversed_in_time, split
from stkit.train.setup import assemble, seed_everything
from stkit.train.step import optimiser_step
from stkit.train.validation import validate
from tests.train.conftest import assert_same_tensors, metrics, tensors

CALLBACK = """
    from pathlib import Path
    from typing import Literal
    from stkit.api import CallbackSpec, ComponentConfig, hookimpl
    from stkit.train.callbacks import Callback

    class DiaryConfig(ComponentConfig):
        stop_at: int | None = None

    class Diary(Callback):
        def __init__(self, stop_at):
            self.stop_at, self.seen = stop_at, []

        @classmethod
        def from_config(cls, config):
            return cls(config.stop_at)

        def note(self, context, what):
            self.seen.append(f"{what}{context.step}")
            (context.run / "diary.txt").write_text(" ".join(self.seen))

        def on_start(self, context):
            self.note(context, "start")

        def on_step(self, context):
            self.note(context, "step")
            if context.step == self.stop_at:
                context.stop_reason = "the diary is full"

        def on_validation(self, context, metrics):
            self.note(context, "validation")

        def on_end(self, context):
            self.note(context, "end")

        def state(self):
            return {"seen": self.seen}

        def restore(self, state):
            self.seen = list(state["seen"])

    @hookimpl
    def stkit_callbacks():
        yield CallbackSpec(name="diary", target=f"{__name__}:Diary", config=f"{__name__}:DiaryConfig")
"""

FIELDS = {
    "steps": {"train.steps": 5},
    "batch_size": {"train.batch_size": 2},
    "accumulate": {"train.accumulate": 2},
    "loss": {"train.loss": {"name": "mae"}},
    "reverse_batches": {"train.reverse_batches": True},
    "sampling": {"train.sampling": {"name": "none"}},
    "optimiser": {"train.optimiser": {"name": "sgd"}},
    "schedule": {"train.schedule": {"name": "linear"}},
    "clip_norm": {"train.clip_norm": 1e-3},
    "precision": {"train.precision": "bf16"},
    "graph": {"train.graph": "off"},
    "ema_decay": {"train.ema_decay": 0.9},
    "early_stopping": {"train.early_stopping": {"patience": 1, "min_delta": 9.0}, "train.evaluate_every_steps": 2},
    "evaluate_every_steps": {"train.evaluate_every_steps": 2},
    "checkpoint_every_steps": {"train.checkpoint_every_steps": 2},
    "log_every_steps": {"train.log_every_steps": 2},
    "truncate_steps": {"train.truncate_steps": 2},
    "recompute": {"train.recompute": "step"},
    "memory_limit_gb": {"train.memory_limit_gb": 1.0},
    "workers": {"train.workers": 1},
    "callbacks": {"train.callbacks": ["diary"]},
}
PARTS = {
    "optimiser.lr": {"train.optimiser": {"lr": 0.01}},
    "optimiser.weight_decay": {"train.optimiser": {"name": "adamw", "weight_decay": 0.1}},
    "optimiser.betas": {"train.optimiser": {"betas": [0.5, 0.9]}},
    "optimiser.eps": {"train.optimiser": {"eps": 0.1}},
    "schedule.warmup_steps": {"train.schedule": {"warmup_steps": 3}},
    "schedule.final_factor": {"train.schedule": {"name": "linear", "final_factor": 0.5}},
    "sampling.start": {"train.sampling": {"name": "scheduled", "start": 0.2}},
    "sampling.decrease": {"train.sampling": {"name": "scheduled", "decrease_per_step": 0.4}},
    "sampling.stop_step": {"train.sampling": {"name": "scheduled", "decrease_per_step": 0.1, "stop_step": 2}},
    "sampling.reverse": {"train.sampling": {"name": "reverse_scheduled", "first_step": 1, "second_step": 4}},
    "seed": {"seed": 4},
}


def fingerprint(loaded, path, monkeypatch):
    """Everything that a field can change: the numbers, the files, the worker processes."""
    import torch.utils.data

    workers = []
    original = torch.utils.data.DataLoader.__init__

    def watched(self, *arguments, **options):
        workers.append(options.get("num_workers", 0))
        original(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(torch.utils.data.DataLoader, "__init__", watched)
        execute(loaded, out=path, evaluate=False)
    found = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    weights = {name: tensor.double().sum().item() for name, tensor in tensors(path).items()}
    record = json.loads((path / "run.json").read_text())
    told = {name: record[name] for name in ("graph", "memory")}
    return {"metrics": metrics(path), "weights": weights, "files": found, "workers": workers, **told}


def test_every_field_is_in_the_list():
    assert set(FIELDS) == set(TrainConfig.model_fields)


@pytest.fixture(scope="module")
def plain():
    """What the unchanged recipe gives; made by the first test that asks."""
    return {}


@pytest.mark.parametrize("name", [*FIELDS, *PARTS])
def test_changing_a_field_changes_something(recipe, tmp_path, monkeypatch, site, plain, name):
    site.install("diary", CALLBACK)
    if not plain:
        plain.update(fingerprint(recipe(), tmp_path / "plain", monkeypatch))
    changed = fingerprint(recipe({**FIELDS, **PARTS}[name]), tmp_path / "changed", monkeypatch)
    differing = {part for part in plain if plain[part] != changed[part]}
    expected = {
        "workers": {"workers"},  # the same numbers, by other processes
        "graph": {"graph"},  # the same numbers; without a GPU there is none anyway, and the record says why
        "recompute": {"memory"},  # the same numbers, in less memory
        "memory_limit_gb": {"memory"},
        "callbacks": {"files"},
        "checkpoint_every_steps": {"files"},
        "log_every_steps": {"metrics"},
        "evaluate_every_steps": {"metrics", "files"},
    }.get(name)
    assert differing
    if expected:
        assert differing == expected


def test_accumulated_parts_are_the_whole_batch(recipe, tmp_path):
    """Missing values make the parts unequal: each part divides by the count of the whole batch."""
    for parts in (1, 2, 3):
        execute(recipe({"train.accumulate": parts}), out=tmp_path / str(parts), evaluate=False)
    whole = metrics(tmp_path / "1")
    for parts in ("2", "3"):
        for one, other in zip(whole, metrics(tmp_path / parts), strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
            assert one.get("lr") == other.get("lr")


def test_gradient_is_that_of_the_mean_over_all_valid_cells(recipe, tmp_path):
    training = assemble(recipe({"train.accumulate": 3, "train.sampling": {"name": "none"}}), make_accelerator())
    batch = dict(training.batches[0])
    generator = torch.Generator().manual_seed(0)
    batch["valid"] = batch["valid"] & (
        torch.rand(batch["valid"].shape, generator=generator) > torch.rand(4, 1, 1, 1, 1)
    )
    training.batches = {0: batch}
    out = training.objective.forecaster.rollout(batch["frames"], 3, known=batch["known"])
    squared = (out.predictions - batch["frames"][:, out.first :]).square()[batch["valid"][:, out.first :]]
    expected = torch.autograd.grad(squared.mean(), list(training.objective.parameters()))
    result = optimiser_step(training)
    assert result.loss == pytest.approx(squared.mean().item(), rel=1e-6)
    for parameter, gradient in zip(training.objective.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-7)
    norm = math.sqrt(sum(gradient.double().square().sum().item() for gradient in expected))
    assert result.gradient_norm == pytest.approx(norm, rel=1e-4)


def test_clipping_scales_the_gradient(recipe):
    training = assemble(recipe({"train.clip_norm": 1e-3}), make_accelerator())
    assert optimiser_step(training).gradient_norm > 1e-3
    norm = torch.nn.utils.get_total_norm([p.grad for p in training.objective.parameters()])
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_split_leaves_no_sample_out():
    batch = {"frames": torch.arange(5.0).reshape(5, 1), "valid": torch.ones(5, 1)}
    tokens = torch.arange(5).reshape(5, 1)
    for parts in (1, 2, 3, 5, 9):
        pieces = split(batch, tokens, parts)
        assert len(pieces) == min(parts, 5)
        assert torch.equal(torch.cat([piece["frames"] for piece, _ in pieces]), batch["frames"])
        assert torch.equal(torch.cat([shown for _, shown in pieces]), tokens)


def test_reversed_batches_alternate_with_forward_ones(recipe, monkeypatch):
    seen = []
    original = step_module.split

    def watched(batch, tokens, parts):
        seen.append((batch["frames"], tokens))
        return original(batch, tokens, parts)

    monkeypatch.setattr(step_module, "split", watched)
    training = assemble(recipe({"train.reverse_batches": True}), make_accelerator())
    for _ in range(4):
        optimiser_step(training)
    frames = [frame for frame, _ in seen]
    assert torch.equal(frames[1], frames[0].flip(1))
    assert torch.equal(frames[3], frames[2].flip(1))
    assert not torch.equal(frames[0], frames[2])
    batch = {"frames": frames[0], "valid": frames[0] > 0}
    assert torch.equal(reversed_in_time(reversed_in_time(batch))["valid"], batch["valid"])


def test_a_loss_that_is_not_finite_stops_before_the_optimiser_moves(recipe, tmp_path, monkeypatch):
    loaded = recipe({"train.checkpoint_every_steps": 2})
    original = trainer.optimiser_step
    before = {}

    def optimiser_step(training, **more):
        if training.step == 3:
            with torch.no_grad():
                next(training.objective.forecaster.parameters()).fill_(torch.nan)
            before.update({name: value.clone() for name, value in training.objective.state_dict().items()})
            before["training"] = training
        return original(training, **more)

    monkeypatch.setattr(trainer, "optimiser_step", optimiser_step)
    with pytest.raises(RunFailed, match=r"the loss is not finite at step 4 \(mse = nan\).*did not take that step"):
        execute(loaded, out=tmp_path / "run", evaluate=False)
    training = before.pop("training")
    assert training.step == 3
    for name, value in training.objective.state_dict().items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num())
    assert all(torch.isfinite(tensor).all() for tensor in tensors(tmp_path / "run").values())
    assert {path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")} == {"step-000002", "step-000003"}
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["outcome"] == "failed"
    assert "not finite at step 4" in record["reason"]


def test_a_gradient_that_is_not_finite_stops_too(recipe, monkeypatch):
    training = assemble(recipe(), make_accelerator())
    next(training.objective.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(RunFailed, match=r"the gradient is not finite at step 1 \(norm (inf|nan)\)"):
        optimiser_step(training)


def test_a_full_disk_while_metrics_are_written(recipe, tmp_path, monkeypatch):
    def full(path, line):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("stkit.run.directory.append_line", lambda path, line: _told(full, path, line))
    with pytest.raises(RunFailed, match=r"no space left on the disk while writing .*metrics.jsonl"):
        execute(recipe(), out=tmp_path / "run", evaluate=False)


def _told(write, path, line):
    with files.told_when_full(path):
        write(path, line)


def test_early_stopping_keeps_the_best_weights(recipe, tmp_path):
    changes = {
        "train.steps": 40,
        "train.evaluate_every_steps": 2,
        "train.optimiser": {"name": "sgd", "lr": 0.0 + 1e-12},
        "train.early_stopping": {"patience": 3, "min_delta": 0.1},
    }
    done = execute(recipe(changes), out=tmp_path / "run", evaluate=False)
    assert done.training.step == 8
    assert done.training.outcome == "finished"
    assert "no improvement in 3 validations" in done.training.reason
    best = json.loads((done.run.checkpoints / "best.json").read_text())
    assert best["step"] == done.training.best_step
    assert done.run.read_record()["outcome"] == "finished"


def test_averaged_weights_are_what_is_evaluated(recipe, tmp_path):
    changes = {"train.ema_decay": 0.9, "train.optimiser": {"lr": 0.05}}
    done = execute(recipe(changes), out=tmp_path / "run", evaluate=False)
    saved = tensors(done.run.path, "best")
    trained = load(done.run.path)
    assert_same_tensors(dict(trained.forecaster.state_dict()), _part(saved, "ema"))
    assert any(not torch.equal(value, saved[f"model/{name}"]) for name, value in _part(saved, "ema").items())
    # And by the validation, too: its loss is that of the averaged weights.
    training = assemble(recipe(changes), make_accelerator())
    training.ema.module.load_state_dict(_part(saved, "ema"))
    best = json.loads((done.run.checkpoints / "best.json").read_text())
    assert validate(training) == {"mse": best["loss"]}


def _part(saved, part):
    return {name.split("/", 1)[1]: value for name, value in saved.items() if name.startswith(f"{part}/")}


def test_validation_is_the_loss_of_free_running_forecasts(recipe):
    training = assemble(recipe(), make_accelerator())
    errors = []
    for index in range(len(training.data.validation)):
        sample = training.data.validation[index]
        context = torch.cat([sample["frames"], sample["known"]], dim=1)[None, :3]
        forecast = training.objective.forecaster(context, 2, known=sample["known"][None, 3:])
        errors.append((forecast[0] - sample["frames"][3:]).square()[sample["valid"][3:]])
    assert validate(training) == pytest.approx({"mse": torch.cat(errors).mean().item()}, rel=1e-5)


def test_callbacks_are_called_and_may_stop(recipe, tmp_path, site):
    site.install("diary", CALLBACK)
    callback = {"name": "diary", "stop_at": 4}
    done = execute(recipe({"train.callbacks": [callback]}), out=tmp_path / "run", evaluate=False)
    assert (tmp_path / "run" / "diary.txt").read_text() == "start0 step1 step2 step3 validation3 step4 end4"
    assert (done.training.step, done.training.reason) == (4, "the diary is full")
    assert done.training.outcome == "finished"


def test_random_numbers_are_a_function_of_seed_step_and_process():
    drawn = set()
    for place in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)):
        seed_everything(*place)
        drawn.add(torch.rand(()).item())
        seed_everything(*place)
        assert torch.rand(()).item() in drawn
    assert len(drawn) == 4


def test_fp16_needs_a_gpu(recipe, tmp_path):
    if torch.accelerator.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UsageError, match="fp16 needs a GPU and there is none here; use 'bf16'"):
        execute(recipe({"train.precision": "fp16"}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch):
    make_accelerator()
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="the launcher started 3 processes but Accelerate sees 1"):
        make_accelerator()


def test_one_process_where_several_were_asked_for_is_told(monkeypatch, caplog):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with caplog.at_level(logging.WARNING, "stkit"):
        make_accelerator()
    assert "starts one process only" in caplog.text
    assert "--processes N" in caplog.text


def test_runs_of_different_precision_in_one_process(recipe, tmp_path):
    for precision in ("no", "bf16", "no"):
        assert make_accelerator(precision).mixed_precision == precision


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.optimiser": {"name": "adan_"}}, None),
        ({"train.optimiser": {"name": "adem"}}, r"optimiser.name: timm.optim has no optimiser 'adem'; did you mean"),
        ({"train.optimiser": {"name": "sgd", "eps": 1.0}}, r"train.optimiser.eps: 'sgd' has none"),
        ({"train.optimiser": {"name": "sgd", "betas": [0.5, 0.9]}}, r"train.optimiser.betas: 'sgd' has none; received"),
        ({"train.optimiser": {"name": "adan", "betas": [0.5, 0.9]}}, r"train.optimiser.betas: 'adan' has 3 of them"),
        ({"train.optimiser": {"betas": [0.5, 1.9]}}, r"train.optimiser: 'adam' cannot be made from these val"),
        ({"train.optimiser": {"name": "adahessian"}}, r"'adahessian' needs second derivatives"),
        (
            {"train.reverse_batches": True, "data.departure_from": "persistence"},
            r"train.reverse_batches: a departure from persistence has no reverse in time",
        ),
        ({"train.loss": {"name": "bce"}}, r"train.loss: bce scores probabilities; set model.head.activation"),
        ({"model.layers": [4, 4], "train.loss": {"name": "decoupling"}}, None),
    ],
)  # fmt: skip
def test_recipes_that_do_not_fit(recipe, changes, message):
    if message is None:
        assemble(recipe(changes), make_accelerator())
        return
    with pytest.raises(RecipeError, match=message):
        assemble(recipe(changes), make_accelerator())
