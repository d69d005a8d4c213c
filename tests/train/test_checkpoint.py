"""Checkpoints: complete or not there, and never believed when they are damaged."""

import errno
import json

import pytest
import torch

from stkit.errors import CheckpointError, RunFailed
from stkit.run import files
from stkit.train import checkpoint as checkpoints
from stkit.train.checkpoint import Checkpoint, check_shapes
from stkit.train.tree import flatten, unflatten

HASH = "a" * 64


def make(step=100, value=1.0, recipe=HASH):
    tensors = {"model": {"w": torch.full((3, 2), value), "scalar": torch.tensor(value)}, "ema": {}}
    return Checkpoint(step, recipe, tensors, state={"best": None, "third": 1 / 3})


@pytest.fixture
def saved(tmp_path):
    checkpoints.save(tmp_path, make())
    return tmp_path


def latest(folder):
    return checkpoints.load(checkpoints.find(folder, "latest"), recipe_hash=HASH)


def test_round_trip(saved):
    found = latest(saved)
    assert found.step == 100
    assert found.state == {"best": None, "third": 1 / 3}
    assert list(found.tensors) == ["model"]
    assert torch.equal(found.tensors["model"]["w"], torch.ones(3, 2))
    assert found.tensors["model"]["scalar"].shape == ()


def test_only_the_parts_asked_for_are_read(saved):
    (saved / "step-000100" / "model.safetensors").unlink()
    path = checkpoints.find(saved, "latest")
    assert checkpoints.load(path, recipe_hash=HASH, parts=("ema",)).tensors == {}
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load(path, recipe_hash=HASH)


def test_nothing_is_pickled(saved):
    assert {file.suffix for file in saved.rglob("*") if file.is_file()} == {".json", ".safetensors"}


def test_no_checkpoint(tmp_path):
    assert checkpoints.find(tmp_path, "latest") is None
    assert checkpoints.find(tmp_path / "nowhere", "best") is None


def cut(file):
    file.write_bytes(file.read_bytes()[:-5])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def rewrite(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: cut(path / "model.safetensors"), "model.safetensors: cut short or altered: .* bytes instead of"),
        (lambda path: flip(path / "model.safetensors"), "model.safetensors: altered since it was written"),
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors: cannot be read .No such file"),
        (lambda path: cut(path / "manifest.json"), "manifest.json: cut short or not JSON"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json: cannot be read"),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json: not a JSON object"),
        (lambda path: rewrite(path / "manifest.json", format=9), "format 9, this version reads format 1"),
        (lambda path: rewrite(path / "manifest.json", files=None), "manifest.json: incomplete"),
        (lambda path: rewrite(path / "manifest.json", recipe="b" * 64), "belongs to another recipe: .* bbbbbbbbbbbb"),
        (lambda path: cut(path.parent / "latest.json"), "latest.json: cut short or not JSON"),
        (lambda path: rewrite(path.parent / "latest.json", checkpoint="step-000200"), "'step-000200', which is not th"),
        (lambda path: rewrite(path.parent / "latest.json", checkpoint="../x"), "latest.json: names no checkpoint"),
    ],
)
def test_damage_is_told(saved, damage, message):
    damage(saved / "step-000100")
    with pytest.raises(CheckpointError, match=message):
        latest(saved)


def test_shapes_are_compared_before_anything_is_copied(tmp_path):
    expected = {"w": torch.zeros(3, 2), "b": torch.zeros(1), "new": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        check_shapes({"w": torch.zeros(2, 3), "b": torch.zeros(1), "old": torch.zeros(1)}, expected, tmp_path / "m")
    told = str(caught.value)
    assert "new is missing" in told
    assert "old is not a parameter of this model" in told
    assert "w is (2, 3), the model has (3, 2)" in told


def test_latest_best_and_the_newest_are_kept(tmp_path):
    for step in range(1, 8):
        path = checkpoints.save(tmp_path, make(step))
        if step == 3:
            checkpoints.point(tmp_path, "best", path.name, step, loss=0.5)
    (tmp_path / ".step-000008.deadbeef.tmp").mkdir()
    checkpoints.prune(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "best.json", "latest.json", "step-000003", "step-000006", "step-000007",
    ]  # fmt: skip
    assert checkpoints.find(tmp_path, "best").name == "step-000003"


def test_steps_beyond_a_million_sort_as_numbers(tmp_path):
    for step in (999_998, 999_999, 1_000_000):
        checkpoints.save(tmp_path, make(step))
    checkpoints.prune(tmp_path)
    assert {path.name for path in tmp_path.glob("step-*")} == {"step-999999", "step-1000000"}


def test_a_step_that_is_reached_again_replaces_the_old_one(saved):
    checkpoints.save(saved, make(value=2.0))
    assert torch.equal(latest(saved).tensors["model"]["w"], torch.full((3, 2), 2.0))
    assert sorted(entry.name for entry in saved.iterdir()) == ["latest.json", "step-000100"]


@pytest.mark.parametrize("failing_write", [0, 1, 2], ids=["weights", "manifest", "pointer"])
def test_a_full_disk_gives_one_message_and_leaves_what_was_there(saved, monkeypatch, failing_write):
    before = {file: file.read_bytes() for file in saved.rglob("*") if file.is_file()}
    calls = iter(range(99))

    def full(handle):
        if next(calls) == failing_write:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    monkeypatch.setattr(checkpoints, "sync_directory", lambda path: None)
    with pytest.raises(RunFailed, match=r"no space left on the disk while writing .*; what was saved before is intact"):
        checkpoints.save(saved, make(200))
    assert {file: file.read_bytes() for file in before} == before
    assert latest(saved).step == 100
    assert not list(saved.glob(".*"))


def test_other_errors_of_the_disk_are_not_called_full(saved, monkeypatch):
    def broken(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        checkpoints.save(saved, make(200))


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop", "adamw", "lion", "lamb"])
def test_optimiser_state_survives_flattening(name):
    from timm.optim import create_optimizer_v2

    layer = torch.nn.Linear(3, 2)
    optimiser = create_optimizer_v2(layer, opt=name, lr=0.1, weight_decay=0.01)
    for _ in range(3):
        layer(torch.ones(1, 3)).sum().backward()
        optimiser.step()
    tensors = {}
    as_json = json.loads(json.dumps(flatten(optimiser.state_dict(), tensors)))
    back = unflatten(as_json, tensors)
    assert flatten(back, {}) == flatten(optimiser.state_dict(), {})
    other = create_optimizer_v2(layer, opt=name, lr=0.1, weight_decay=0.01)
    other.load_state_dict(back)
    assert str(other.state_dict()) == str(optimiser.state_dict())


def test_what_cannot_be_saved_without_pickle_is_refused():
    with pytest.raises(TypeError, match="without pickle"):
        flatten({"a": [object()]}, {})
    with pytest.raises(CheckpointError, match="'w' is missing"):
        unflatten({"tensor": "w"}, {})
    with pytest.raises(CheckpointError, match="not a saved state"):
        unflatten({"pickle": "gASV"}, {})
