"""Reading weight files without running code from them.

Its bytes show what kind of file it is: what ``torch.save`` writes (new and old), safetensors, or a NumPy archive.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from stkit.errors import CheckpointError, UsageError
from stkit.interop.weights import Weights, listed

Format = Literal["torch", "safetensors", "npz"]

_WRAPPERS = ("state_dict", "model_state_dict", "net_param", "model", "network", "net")
_PREFIXES = ("module.", "model.", "_orig_mod.")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_HEADER_BYTES = 8
_LARGEST_HEADER = 100 * 2**20
_KNOWN = "known are files of torch.save (.pth, .ckpt), .safetensors and .npz"


@dataclass(frozen=True)
class WeightFile:
    """A weight file, read."""

    path: Path
    format: Format
    sha256: str
    bytes: int
    weights: Weights
    wrapper: str | None = None
    """Key under which the parameters were, None where they were at the top."""
    prefix: str = ""
    """What was taken off every name."""
    lightning: str | None = None
    """Version of Lightning that wrote it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The hyper-parameters that Lightning saved."""
    step: int | None = None
    """Optimiser steps of the weights, where the file says it."""


def read_file(path: str | Path) -> WeightFile:
    """Read a weight file. Nothing in it is run.

    Raises:
        UsageError: it is not there or a folder.
        CheckpointError: it is no weight file, is cut short, holds anything but numbers under names, or NaN.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path}: this is a folder; name the weight file in it")
    if not path.is_file():
        if path.with_name(f"{path.name}.index").is_file():
            raise CheckpointError(_tensorflow_hint(path))
        raise UsageError(f"{path}: no such file")
    size = path.stat().st_size
    with open(path, "rb") as stream:
        head = stream.read(_HEADER_BYTES + 1)
        stream.seek(0)
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    kind = _format(path, head, size)
    content = {"torch": _read_torch, "safetensors": _read_safetensors, "npz": _read_npz}[kind](path)
    about: dict[str, Any] = {}
    if kind == "torch":
        about = _about(content)
        content, about["wrapper"] = _unwrapped(path, content)
    tensors = _tensors(path, content)
    tensors, about["prefix"] = _without_prefix(tensors)
    _check_numbers(path, tensors)
    return WeightFile(path, kind, sha256, size, Weights(tensors, str(path)), **about)


def _format(path: Path, head: bytes, size: int) -> Format:
    if not size:
        raise CheckpointError(f"{path}: the file is empty")
    if head.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except Exception as error:  # damaged bytes show as errors of any kind
            raise _cut_short(path, error) from error
        if any(name.endswith("/data.pkl") for name in names):
            return "torch"
        if names and all(name.endswith(".npy") for name in names):
            return "npz"
        raise CheckpointError(f"{path}: an archive of something else (it holds {listed(names, 3)}); {_KNOWN}")
    length = int.from_bytes(head[:_HEADER_BYTES], "little")
    if head[_HEADER_BYTES:] == b"{" and length < _LARGEST_HEADER:
        return "safetensors"
    if head.startswith(_PICKLE):
        return "torch"
    if re.search(r"\.(index|meta|data-\d+-of-\d+)$", path.name):
        raise CheckpointError(_tensorflow_hint(path))
    raise CheckpointError(f"{path}: not a weight file (it begins with {head[:4]!r}); {_KNOWN}")


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(_numpy_globals())):
            warnings.simplefilter("ignore")  # of the age of the file
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = _asked_for(path, str(error))
        if names:
            raise CheckpointError(
                f"{path}: refused. Reading it would run or make {listed(names)}, which may be anything; nothing of it "
                "was run. Weights need no code: where you trust the file, load it there and save its state_dict alone"
            ) from error
        raise CheckpointError(f"{path}: not a file of torch.save, or damaged ({_first_line(error)})") from error
    except Exception as error:  # damaged bytes show as errors of any kind
        raise _cut_short(path, error) from error


def _numpy_globals() -> list[Any]:
    """What NumPy arrays and numbers are made of, which Lightning saves beside the weights: data, no code."""
    from numpy._core.multiarray import _reconstruct, scalar

    kinds = {type(np.dtype(code)) for code in "?bhilqBHILQefd"}
    old = [(function, f"numpy.core.multiarray.{function.__name__}") for function in (_reconstruct, scalar)]
    return [np.ndarray, np.dtype, _reconstruct, scalar, *old, *kinds]


def _asked_for(path: Path, message: str) -> list[str]:
    """The functions and classes that a file wants, apart from harmless ones."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # an old file, or one that hides them
        return re.findall(r"(?:GLOBAL|global:? GLOBAL|class|function) `?([\w.]+\.[\w.]+)", message)[:1]


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise _cut_short(path, error) from error


def _read_npz(path: Path) -> Any:
    found: dict[str, NDArray[Any]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                found[name.removesuffix(":0")] = archive[name]
    except ValueError as error:
        if "pickle" in str(error):
            raise CheckpointError(
                f"{path}: refused. {name!r} holds Python objects, which are read by running code; an archive of "
                "weights holds arrays of numbers"
            ) from error
        raise _cut_short(path, error) from error
    except Exception as error:  # damaged bytes show as errors of any kind
        raise _cut_short(path, error) from error
    return found


def _about(content: Any) -> dict[str, Any]:
    """What Lightning says beside the weights."""
    if not isinstance(content, Mapping):
        return {}
    version, settings, step = (
        content.get(key) for key in ("pytorch-lightning_version", "hyper_parameters", "global_step")
    )
    return {
        "lightning": str(version) if version is not None else None,
        "settings": dict(settings) if isinstance(settings, Mapping) else {},
        "step": step if isinstance(step, int) and step >= 0 else None,
    }


def _unwrapped(path: Path, content: Any, wrapper: str | None = None) -> tuple[Mapping[str, Any], str | None]:
    """The parameters: at the top, or under one of the usual keys."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not parameters by name")
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return content, wrapper
    key = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    if key is None or (wrapper or "").count(".") > 1:
        raise CheckpointError(
            f"{path}: no parameters found; it holds {listed(map(str, content)) or 'nothing'}, and parameters are "
            f"looked for at the top and under {', '.join(_WRAPPERS)}"
        )
    return _unwrapped(path, content[key], key if wrapper is None else f"{wrapper}.{key}")


def _tensors(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            value = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), copy=True))
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name!r} is no array of numbers")
        found[name] = value.detach()
    if not found:
        raise CheckpointError(f"{path}: holds no parameters")
    return found


def _without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """What wrappers of the network (several GPUs, Lightning, compiling) put before every name is taken off."""
    taken = ""
    while found := next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in tensors)), None):
        tensors = {name.removeprefix(found): value for name, value in tensors.items()}
        taken += found
    return tensors, taken


def _check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise CheckpointError(
            f"{path}: {len(bad)} of {len(tensors)} parameters hold NaN or infinity: {listed(bad)}; the training "
            "that wrote it had diverged, or the file is damaged"
        )


def _cut_short(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: cut short or damaged ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _tensorflow_hint(path: Path) -> str:
    return (
        f"{path}: a TensorFlow checkpoint; save its variables by name in an .npz first, where TensorFlow is installed: "
        "reader = tf.train.load_checkpoint(PATH); "
        "numpy.savez(FILE, **{n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()})"
    )
