"""Checkpoints: safetensors and a JSON manifest, complete or not there at all, and nothing that needs pickle.

A checkpoint is a folder ``step-000100`` with ``model.safetensors`` (the forecaster), ``ema.safetensors`` (its averaged
weights), ``loss.safetensors`` (parameters of the loss), ``optimiser.safetensors`` and ``manifest.json``. Beside the
folders, ``latest.json`` and ``best.json`` point at one of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from stkit.errors import CheckpointError
from stkit.run.files import as_json, sync_directory, told_when_full, write_json, write_synced
from stkit.train.tree import storable

FORMAT = 1
"""Version of the layout that this code writes."""
KEPT = 2
"""Newest checkpoints that are kept besides the best one."""

Pointer = Literal["latest", "best"]


@dataclass
class Checkpoint:
    """What a checkpoint holds, in memory."""

    step: int
    """Finished optimiser steps."""
    recipe_hash: str
    tensors: dict[str, dict[str, Tensor]]
    """For each part (``model``, ``ema``, ``loss``, ``optimiser``) its tensors; a part without tensors has no file."""
    state: dict[str, Any] = field(default_factory=dict)
    """Everything else, as JSON."""
    path: Path | None = None
    """Where it was read from."""


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into ``folder`` (a run's ``checkpoints``) and point ``latest.json`` at it.

    The files are written into a temporary folder that takes its name when it is complete, so that a crash or a full
    disk leaves the earlier checkpoints as they were.

    Raises:
        RunFailed: the disk is full.
    """
    target = folder / f"step-{checkpoint.step:06d}"
    temporary = folder / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    with told_when_full(target):
        try:
            temporary.mkdir(parents=True)
            files = {}
            for part, tensors in checkpoint.tensors.items():
                if tensors:
                    content = safetensors.torch.save(storable(tensors))
                    write_synced(temporary / f"{part}.safetensors", content)
                    files[f"{part}.safetensors"] = {
                        "sha256": hashlib.sha256(content).hexdigest(),
                        "bytes": len(content),
                        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
                    }
            manifest = {
                "format": FORMAT,
                "step": checkpoint.step,
                "recipe": checkpoint.recipe_hash,
                "files": files,
                "state": checkpoint.state,
            }
            write_synced(temporary / "manifest.json", as_json(manifest).encode())
            if target.exists():  # a step that was reached before, by a run that was resumed from an earlier one
                replaced = folder / f".{target.name}.{uuid.uuid4().hex[:8]}.old"
                target.rename(replaced)
                temporary.rename(target)
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                temporary.rename(target)
            sync_directory(folder)
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(temporary, ignore_errors=True)
            raise
    point(folder, "latest", target.name, checkpoint.step)
    return target


def point(folder: Path, pointer: Pointer, name: str, step: int, **more: float) -> None:
    """Make ``latest.json`` or ``best.json`` point at the checkpoint folder ``name``."""
    write_json(folder / f"{pointer}.json", {"checkpoint": name, "step": step, **more})


def find(folder: Path, pointer: Pointer) -> Path | None:
    """The checkpoint folder that ``latest.json`` or ``best.json`` points at; None where there is no such file.

    Raises:
        CheckpointError: the file is damaged or points at a folder that is not there.
    """
    file = folder / f"{pointer}.json"
    if not file.is_file():
        return None
    name = _read_json(file).get("checkpoint")
    if not isinstance(name, str) or Path(name).name != name:
        raise CheckpointError(f"{file}: names no checkpoint")
    if not (folder / name).is_dir():
        raise CheckpointError(f"{file} points at {name!r}, which is not there; present: {_present(folder)}")
    return folder / name


def load(path: Path, *, recipe_hash: str | None, parts: tuple[str, ...] | None = None) -> Checkpoint:
    """Read and check a checkpoint folder.

    Args:
        path: the folder.
        recipe_hash: of the recipe that it must belong to; None: any.
        parts: the parts to read; None: all. A part that the checkpoint does not have is left out.

    Raises:
        CheckpointError: a file is missing, cut short or altered, or the checkpoint is another recipe's.
    """
    manifest = _read_json(path / "manifest.json")
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{path / 'manifest.json'}: format {manifest.get('format')!r}, this version reads format {FORMAT}"
        )
    try:
        step, recipe, files, state = (manifest[key] for key in ("step", "recipe", "files", "state"))
        wanted = {name: entry for name, entry in files.items() if parts is None or name.split(".")[0] in parts}
    except (KeyError, AttributeError) as error:
        raise CheckpointError(f"{path / 'manifest.json'}: incomplete ({error})") from error
    if recipe_hash is not None and recipe != recipe_hash:
        raise CheckpointError(
            f"{path} belongs to another recipe: it was written for {recipe[:12]}, the run's is {recipe_hash[:12]}"
        )
    tensors = {name.split(".")[0]: _read_tensors(path / name, entry) for name, entry in wanted.items()}
    return Checkpoint(step=step, recipe_hash=recipe, tensors=tensors, state=state, path=path)


def prune(folder: Path) -> None:
    """Delete all but the best and the :data:`KEPT` newest checkpoints, and what a crash left half-written."""
    keep = {found.name for pointer in ("latest", "best") if (found := find(folder, pointer)) is not None}
    steps = sorted((entry for entry in folder.glob("step-*") if entry.is_dir()), key=_step_of)
    keep.update(entry.name for entry in steps[-KEPT:])
    for entry in [*steps, *folder.glob(".step-*")]:
        if entry.name not in keep:
            shutil.rmtree(entry, ignore_errors=True)


def check_shapes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Compare names and shapes before anything is copied.

    Raises:
        CheckpointError: with the first few differences.
    """
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not a parameter of this model" for name in found if name not in expected]
    problems += [
        f"{name} is {tuple(found[name].shape)}, the model has {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(problems[:4])}{more}")


def _read_tensors(file: Path, entry: Mapping[str, Any]) -> dict[str, Tensor]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    if len(content) != entry["bytes"]:
        raise CheckpointError(f"{file}: cut short or altered: {len(content)} bytes instead of {entry['bytes']}")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{file}: altered since it was written (its sha256 is not the manifest's)")
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: not a safetensors file ({error})") from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{file}: cut short or not JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: not a JSON object")
    return content


def _step_of(entry: Path) -> int:
    number = entry.name.removeprefix("step-")
    return int(number) if number.isdecimal() else -1


def _present(folder: Path) -> str:
    return ", ".join(sorted(entry.name for entry in folder.glob("step-*"))) or "none"
