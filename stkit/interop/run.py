"""The run directory of an imported model."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from stkit.data.pipeline import Pipeline
from stkit.data.source import Grid, Variable
from stkit.data.transforms import Standardise, Transform
from stkit.errors import UsageError
from stkit.interop.imported import Imported, Options, read
from stkit.recipe.loaded import LoadedRecipe, from_dict
from stkit.run.directory import RunDirectory
from stkit.run.files import sync_directory, told_when_full
from stkit.run.record import new_record, now
from stkit.train import checkpoint as checkpoints

IMPORTED = "imported"
"""Outcome of such a run, which `stkit resume` refuses, and the entry of its record that says where it is from."""


def import_weights(
    source: str,
    path: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    variables: Sequence[tuple[str, str]] = (),
    **more: Any,
) -> Imported:
    """Make a run directory of a weight file, which :func:`stkit.load` and ``stkit predict`` take like any other.

    Everything is read and checked before anything is written, and the directory appears when it is complete.

    Args:
        source: see :func:`stkit.interop.read`.
        path: the weight file.
        out: the run directory: new, or empty.
        options: what is not in the file.
        variables: name and units of each channel; none: ``field``, without a unit.
        more: options by name.

    Raises:
        UsageError: ``out`` is taken, or see :func:`stkit.interop.read`.
        CheckpointError: see :func:`stkit.interop.read`.
        RunFailed: the disk is full.
    """
    target = Path(out)
    _refuse_taken(target)
    imported = read(source, path, options, **more)
    if imported.size is None:
        raise UsageError(
            f"{path}: its weights fit any grid, and the file does not say which one it is for: give the height and "
            "width of a frame in cells, such as --size 64x64"
        )
    channels = _variables(imported, variables)
    loaded = from_dict(_recipe(imported, imported.size, channels), name=f"{imported.source.name}-{Path(path).stem}")
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    with told_when_full(target):
        try:
            _write(temporary, loaded, imported, _pipeline(imported, imported.size, channels))
            os.replace(temporary, target)
            sync_directory(target.parent)
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(temporary, ignore_errors=True)
            raise
    return imported


def _refuse_taken(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"-o {out}: the directory is not empty, and nothing is overwritten: name a new one")
    if out.exists() and not out.is_dir():
        raise UsageError(f"-o {out}: this is a file; name a directory that is new or empty")


def _variables(imported: Imported, named: Sequence[tuple[str, str]]) -> tuple[Variable, ...]:
    count = imported.channels
    if named and len(named) != count:
        raise UsageError(f"--variable: {len(named)} are named, and the model has {count} channels")
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise UsageError(f"--variable: a name is given twice: {', '.join(names)}")
    if named:
        return tuple(Variable(name, units) for name, units in named)
    return tuple(Variable(f"field{number}" if count > 1 else "field") for number in range(count))


def _recipe(imported: Imported, size: tuple[int, int], variables: tuple[Variable, ...]) -> dict[str, Any]:
    """What can be said of the model as a recipe. Its training is not known; the section is there to be filled in."""
    return {
        "summary": f"{imported.architecture.title}, imported from {imported.file.path.name}",
        "data": {
            "dataset": {
                "name": "imported",
                "variables": [{"name": variable.name, "units": variable.units} for variable in variables],
                "height": size[0],
                "width": size[1],
            },
            "input_steps": imported.input_steps,
            "horizon": imported.horizon,
            "transforms": {"standardise": "none" if imported.normalisation is None else "variable"},
        },
        "model": {**imported.architecture.model, "patch": imported.patch_size},
        "train": {"steps": 1, "loss": {"name": "mse"}, "sampling": {"name": "none"}},
    }


def _pipeline(imported: Imported, size: tuple[int, int], variables: tuple[Variable, ...]) -> Pipeline:
    transforms: tuple[Transform, ...] = ()
    if imported.normalisation is not None:
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in imported.normalisation)
        transforms = (Standardise(mean, std),)
    return Pipeline(
        variables=variables,
        grid=Grid(*size),
        valid=torch.ones(len(variables), *size, dtype=torch.bool),
        transforms=transforms,
        departure=None,
        extra_inputs=(),
        input_steps=imported.input_steps,
        horizon=imported.horizon,
        step=None,
    )


def _write(path: Path, loaded: LoadedRecipe, imported: Imported, pipeline: Pipeline) -> None:
    run = RunDirectory.create(loaded, path)
    run.update_record(**_record(loaded, imported))
    pipeline.save(run.pipeline)
    step = imported.file.step or 0
    weights = checkpoints.Checkpoint(step, loaded.hash, {"model": dict(imported.values)})
    folder = checkpoints.save(run.checkpoints, weights)
    checkpoints.point(run.checkpoints, "best", folder.name, step)


def _record(loaded: LoadedRecipe, imported: Imported) -> dict[str, Any]:
    file = imported.file
    return {
        **new_record(loaded),
        "finished": now(),
        "outcome": IMPORTED,
        "reason": f"weights of {imported.architecture.title} from {file.path.name}",
        "step": file.step or 0,
        "steps": None,
        "parameters": sum(value.numel() for value in imported.values.values()),
        IMPORTED: {
            "source": imported.source.name,
            "code": imported.source.link,
            "architecture": imported.architecture.title,
            "semantics": imported.semantics,
            "file": {
                "path": str(file.path),
                "sha256": file.sha256,
                "bytes": file.bytes,
                "format": file.format,
                "wrapper": file.wrapper,
                "prefix": file.prefix,
                "lightning": file.lightning,
            },
            "patch_size": imported.patch_size,
            "size": imported.size,
            "channels": imported.channels,
            "normalisation": None
            if imported.normalisation is None
            else dict(zip(("mean", "std"), imported.normalisation, strict=True)),
            "dropped": dict(imported.dropped),
            "notes": list(imported.notes),
        },
    }
