"""From a weight file to a forecaster that forecasts like its source.

Axes: ``H`` height, ``W`` width of the frames, in cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stkit.errors import CheckpointError, UsageError, suggest
from stkit.interop.architecture import Architecture, Semantics
from stkit.interop.file import WeightFile, read_file
from stkit.interop.source import Asked, Kind, Source, kind_of, source_called, without_training
from stkit.stacks.forecaster import Forecaster

SEMANTICS: tuple[Semantics, ...] = ("openstl-0.3", "openstl-1.0")
STEPS = 10
"""Frames of context, and of forecast, where nothing says otherwise: the usual ones of Moving MNIST."""


@dataclass(frozen=True)
class Options:
    """What a user says about a weight file. None: it is in the file, or there is a usual value."""

    patch_size: int | None = None
    """Side in cells of the patches that the source folds into channels."""
    size: tuple[int, int] | None = None
    """Height and width of the frames, in cells."""
    channels: int | None = None
    """Channels of a frame."""
    input_steps: int | None = None
    horizon: int | None = None
    semantics: str | None = None
    """Version of OpenSTL that trained the weights: one of :data:`SEMANTICS`."""
    mean: tuple[float, ...] | None = None
    """For each channel, or one for all: what the source subtracted from the frames."""
    std: tuple[float, ...] | None = None
    """For each channel, or one for all: what the source then divided them by."""


@dataclass(frozen=True)
class Imported:
    """A model in a file, understood and checked, its weights in our order."""

    source: Source
    file: WeightFile
    architecture: Architecture
    patch_size: int
    size: tuple[int, int] | None
    """Height and width of the frames; None: the weights fit any and nothing says which."""
    channels: int
    input_steps: int
    horizon: int
    semantics: Semantics | None
    """None where nothing was said and the versions of the source do not differ."""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None
    """Mean and deviation of each channel; None: frames are as the model takes them."""
    values: Mapping[str, Tensor]
    """The forecaster's parameters."""
    dropped: Mapping[str, str]
    """Parameters of the file that were left out, with the reason."""
    notes: tuple[str, ...]
    """What to know of it."""

    def forecaster(self, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Forecaster:
        """The model, in the source's own units of frames: ``B T C H W`` in, ``B horizon C H W`` out."""
        forecaster = self.architecture.build(patch=self.patch_size, grid=self.size, device=device, dtype=dtype)
        forecaster.load_state_dict(dict(self.values))
        return forecaster.eval()


def read(source: str, path: str | Path, options: Options | None = None, **more: Any) -> Imported:
    """Read weights of a reference implementation.

    .. code-block:: python

        imported = stkit.interop.read("openstl", "predrnn_mmnist.pth", patch_size=4)
        forecast = imported.forecaster()(context, horizon=10)

    Args:
        source: ``openstl``, ``predrnn-pytorch``, ``predrnn-pp``, ``mim`` or ``e3d-lstm``.
        path: a file of ``torch.save`` (raw, wrapped or of Lightning), safetensors, or an ``.npz`` of arrays by name.
        options: what is not in the file.
        more: the same by name.

    Raises:
        UsageError: there is no such source or file, or something must be said that is not in the file.
        CheckpointError: the file cannot be read, is of something else, or cannot be reproduced.
    """
    options = replace(options or Options(), **more)
    origin = source_called(source)
    _check_options(options)
    file = read_file(path)
    weights, dropped = without_training(origin, file.weights)
    kind = kind_of(origin, weights)
    if options.semantics is not None and not any(each.has_semantics for each in origin.kinds):
        raise UsageError(f"--semantics {options.semantics}: says which OpenSTL trained the weights, not {origin.title}")
    semantics, notes = _semantics(kind, file, options.semantics)
    input_steps = options.input_steps or _setting(file, "pre_seq_length") or STEPS
    horizon = options.horizon or _setting(file, "aft_seq_length") or STEPS
    asked = Asked(semantics or "openstl-1.0", input_steps + horizon)
    architecture = kind.describe(weights, asked)
    _check_stride(file)
    patch = _patch_size(file, architecture, options)
    channels = architecture.patch_channels // patch**2
    size = _size(file, architecture, patch, options)
    normalisation, said = _normalisation(file, channels, options)
    blank = architecture.build(patch=patch, grid=size, device="meta")
    values = architecture.values(weights, blank)
    return Imported(
        source=origin,
        file=file,
        architecture=architecture,
        patch_size=patch,
        size=size,
        channels=channels,
        input_steps=input_steps,
        horizon=horizon,
        semantics=semantics,
        normalisation=normalisation,
        values={name: _number(value).contiguous() for name, value in values.items()},
        dropped={**dropped, **architecture.dropped, **architecture.idle(blank)},
        notes=(*notes, *architecture.notes, *said),
    )


def _check_options(options: Options) -> None:
    if options.semantics is not None and options.semantics not in SEMANTICS:
        raise UsageError(f"--semantics {options.semantics!r}: {suggest(options.semantics, SEMANTICS)}")
    for flag, value in (
        ("--patch-size", options.patch_size),
        ("--channels", options.channels),
        ("--input-steps", options.input_steps),
        ("--horizon", options.horizon),
        ("--size", None if options.size is None else min(options.size)),
    ):
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: at least 1")
    if (options.mean is None) != (options.std is None):
        raise UsageError("--mean and --std belong together: give both, or neither")
    if options.std is not None and not all(math.isfinite(value) and value > 0 for value in options.std):
        raise UsageError("--std: each a positive number")
    if options.mean is not None and not all(math.isfinite(value) for value in options.mean):
        raise UsageError("--mean: each a finite number")


def _semantics(kind: Kind, file: WeightFile, asked: str | None) -> tuple[Semantics | None, tuple[str, ...]]:
    said = next((version for version in SEMANTICS if version == asked), None)
    if not kind.has_semantics:
        return said, (f"both versions of OpenSTL compute the same {kind.title}",) if said else ()
    if said is not None:
        return said, ()
    if file.lightning is not None:
        return "openstl-1.0", ("written by Lightning, and so by OpenSTL 1.0: read with its semantics",)
    return "openstl-0.3", (
        f"the file does not say which version of OpenSTL trained it, and the {kind.title} of 0.3 and 1.0 compute "
        "different things with the same parameters. Assumed is openstl-0.3, which made the published weights; "
        "--semantics says otherwise",
    )


def _check_stride(file: WeightFile) -> None:
    stride = _setting(file, "stride")
    if stride not in (None, 1):
        raise CheckpointError(
            f"{file.path}: its convolutions have a stride of {stride}; only a stride of 1 can be reproduced"
        )


def _patch_size(file: WeightFile, architecture: Architecture, options: Options) -> int:
    folded = architecture.patch_channels
    in_file = _setting(file, "patch_size")
    shape = _shape(file)
    channels = options.channels or (1 if shape is None else shape[0])
    fitting = [side for side in range(1, math.isqrt(folded) + 1) if folded % side**2 == 0]
    known = "; ".join(f"--patch-size {side}: {folded // side**2} channels" for side in fitting)
    if in_file is not None and options.patch_size not in (None, in_file):
        raise CheckpointError(
            f"--patch-size {options.patch_size}: {file.path} says that its patches are {in_file} wide"
        )
    patch = options.patch_size or in_file
    if patch is None:
        raise UsageError(
            f"{file.path}: the patch size is not in the file, and its {folded} input channels fit more than one: say "
            f"which ({known})"
            if len(fitting) > 1
            else f"{file.path}: the patch size is not in the file; its {folded} input channels fit {known}: say so"
        )
    if patch not in fitting or folded // patch**2 != channels:
        told = "" if options.channels or shape else " (without --channels a frame has 1)"
        raise CheckpointError(
            f"{file.path}: the model takes {folded} channels, and patches of {patch} x {patch} cells of {channels} "
            f"channel{'s' if channels > 1 else ''} are {patch**2 * channels}{told}; what fits: {known}"
        )
    return patch


def _size(file: WeightFile, architecture: Architecture, patch: int, options: Options) -> tuple[int, int] | None:
    shape = _shape(file)
    tied = None if architecture.grid is None else (architecture.grid[0] * patch, architecture.grid[1] * patch)
    in_file = None if shape is None else shape[1:]
    for known, why in (
        (tied, f"its weights belong to a grid of {architecture.grid} patches of {patch}"),
        (in_file, "it says so"),
    ):
        if known is None:
            continue
        if options.size not in (None, known):
            raise CheckpointError(f"--size {_by(options.size)}: {file.path} is for frames of {_by(known)} cells: {why}")
    if tied is not None and in_file not in (None, tied):
        raise CheckpointError(
            f"{file.path}: its weights belong to frames of {_by(tied)} cells, but it says that its frames have "
            f"{_by(in_file)}"
        )
    size = options.size or tied or in_file
    if size is not None and (size[0] % patch or size[1] % patch):
        raise CheckpointError(
            f"--size {_by(size)}: patches of {patch} x {patch} cells do not divide it, and the source takes no such "
            "frames: the size or the patch size is another"
        )
    return size


def _normalisation(
    file: WeightFile, channels: int, options: Options
) -> tuple[tuple[tuple[float, ...], tuple[float, ...]] | None, tuple[str, ...]]:
    if options.mean is not None and options.std is not None:
        return (_each("--mean", options.mean, channels), _each("--std", options.std, channels)), ()
    mean, std = (_numbers(file.settings.get(key)) for key in ("test_mean", "test_std"))
    if mean is None or std is None or (set(mean) == {0.0} and set(std) == {1.0}):
        return None, ()
    found = (_each("test_mean in the file", mean, channels), _each("test_std in the file", std, channels))
    return found, ("mean and standard deviation of the frames are taken from the file: forecasts are in its units",)


def _each(what: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise UsageError(f"{what}: {len(values)} numbers for {channels} channels")
    return values * (channels if len(values) == 1 else 1)


def _numbers(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        flat = torch.as_tensor(value, dtype=torch.float64).flatten()
    except (TypeError, ValueError, RuntimeError):
        return None
    return tuple(flat.tolist()) if flat.numel() and flat.isfinite().all() else None


def _shape(file: WeightFile) -> tuple[int, int, int] | None:
    """Channels, height and width of a frame, where the file says them."""
    said = file.settings.get("in_shape")
    if not isinstance(said, list | tuple) or len(said) != 4 or not all(isinstance(n, int) and n > 0 for n in said):
        return None
    return said[1], said[2], said[3]


def _setting(file: WeightFile, name: str) -> int | None:
    value = file.settings.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _number(value: Tensor) -> Tensor:
    return value if value.dtype in (torch.float32, torch.float64) else value.float()


def _by(size: tuple[int, int] | None) -> str:
    return "unknown" if size is None else f"{size[0]}x{size[1]}"
