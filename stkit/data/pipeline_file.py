"""A pipeline in files: tensors in safetensors, the rest in JSON; nothing is pickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stkit.data.known_fields import KnownFields
from stkit.data.pipeline import Pipeline
from stkit.data.source import Axis, Grid, Variable
from stkit.data.transforms import TRANSFORMS, Transform
from stkit.errors import CheckpointError
from stkit.evaluate.departures import DEPARTURES

_FORMAT = 1
_TENSORS = "pipeline.safetensors"
_REST = "pipeline.json"


def save(pipeline: Pipeline, folder: Path) -> None:
    """Write both files, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {"valid": pipeline.valid}
    parts = _transforms_to_json(pipeline.transforms, "transform", tensors)
    known_fields: dict[str, Any] | None = None
    if pipeline.known_fields is not None:
        known = pipeline.known_fields
        tensors["constant"] = known.constant
        known_fields = {
            "forcing": [variable._asdict() for variable in known.forcing],
            "transforms": _transforms_to_json(known.transforms, "forcing", tensors),
            "static": [variable._asdict() for variable in known.static],
        }
    departure: dict[str, Any] | None = None
    if pipeline.departure is not None:
        tensors |= {f"departure.{name}": value for name, value in pipeline.departure.state().items()}
        departure = {"name": pipeline.departure.name, **pipeline.departure.settings()}
    rest = {
        "format": _FORMAT,
        "variables": [variable._asdict() for variable in pipeline.variables],
        "grid": {"height": pipeline.grid.height, "width": pipeline.grid.width},
        "axes": {"y": _axis_to_json(pipeline.grid.y), "x": _axis_to_json(pipeline.grid.x)},
        "transforms": parts,
        "departure": departure,
        "targets": pipeline.targets,
        "known_fields": known_fields,
        "extra_inputs": list(pipeline.extra_inputs),
        "input_steps": pipeline.input_steps,
        "horizon": pipeline.horizon,
        "step_nanoseconds": None if pipeline.step is None else int(pipeline.step.astype("timedelta64[ns]").astype(int)),
    }
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    unfinished = folder / f".{_TENSORS}.unfinished"
    save_file(own, unfinished)
    os.replace(unfinished, folder / _TENSORS)
    unfinished = folder / f".{_REST}.unfinished"
    unfinished.write_text(json.dumps(rest, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / _REST)


def load(folder: Path) -> Pipeline:
    """Read both files.

    Raises:
        CheckpointError: if one is missing, cut short or does not belong to the other.
    """
    for name in (_REST, _TENSORS):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: {name} is missing; this is not the pipeline of a run")
    try:
        rest = json.loads((folder / _REST).read_text(encoding="utf-8"))
        tensors = load_file(folder / _TENSORS)
    except (ValueError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder}: the pipeline is damaged or cut short ({error})") from error
    if rest.get("format") != _FORMAT:
        raise CheckpointError(f"{folder / _REST}: format {rest.get('format')!r}, but this version reads {_FORMAT}")
    try:
        return _assemble(rest, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: the pipeline's files do not belong together ({error!r})") from error


def _assemble(rest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Pipeline:
    y, x = (_axis_from_json(rest["axes"][role]) for role in ("y", "x"))
    grid = Grid(rest["grid"]["height"], rest["grid"]["width"], y, x)
    variables = tuple(Variable(**variable) for variable in rest["variables"])
    valid = tensors["valid"]
    if valid.shape != (len(variables), *grid.shape) or valid.dtype != torch.bool:
        raise ValueError(f"a mask of shape {tuple(valid.shape)} for {len(variables)} variables on {grid.shape}")
    transforms = _transforms_from_json(rest["transforms"], "transform", tensors)
    known_fields: KnownFields | None = None
    if rest.get("known_fields") is not None:
        given = rest["known_fields"]
        known_fields = KnownFields(
            forcing=tuple(Variable(**variable) for variable in given["forcing"]),
            transforms=_transforms_from_json(given["transforms"], "forcing", tensors),
            static=tuple(Variable(**variable) for variable in given["static"]),
            constant=tensors["constant"],
        )
        if known_fields.constant.shape != (len(known_fields.static), *grid.shape):
            raise ValueError(f"static fields of shape {tuple(known_fields.constant.shape)} on {grid.shape}")
    said = rest["departure"]
    departure = None if said is None else DEPARTURES[said["name"]].from_state(said, _under(tensors, "departure."))
    nanoseconds = rest["step_nanoseconds"]
    return Pipeline(
        variables=variables,
        grid=grid,
        valid=valid,
        transforms=transforms,
        departure=departure,
        extra_inputs=tuple(rest["extra_inputs"]),
        input_steps=rest["input_steps"],
        horizon=rest["horizon"],
        step=None if nanoseconds is None else np.timedelta64(nanoseconds, "ns"),
        targets=rest.get("targets", 0),
        known_fields=known_fields,
    )


def _transforms_to_json(
    transforms: Sequence[Transform], prefix: str, tensors: dict[str, Tensor]
) -> list[dict[str, Any]]:
    """What they are but for their tensors, which are added to ``tensors``."""
    for number, transform in enumerate(transforms):
        tensors.update({f"{prefix}{number}.{name}": value for name, value in transform.state().items()})
    return [{"kind": transform.kind, **transform.settings()} for transform in transforms]


def _transforms_from_json(
    parts: Sequence[Mapping[str, Any]], prefix: str, tensors: Mapping[str, Tensor]
) -> tuple[Transform, ...]:
    return tuple(
        TRANSFORMS[part["kind"]].from_state(part, _under(tensors, f"{prefix}{number}."))
        for number, part in enumerate(parts)
    )


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _axis_to_json(axis: Axis) -> dict[str, Any]:
    return {**asdict(axis), "values": None if axis.values is None else axis.values.tolist()}


def _axis_from_json(said: Mapping[str, Any]) -> Axis:
    values = said["values"]
    return Axis(**{**said, "values": None if values is None else np.asarray(values, dtype=np.float64)})
