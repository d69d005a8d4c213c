"""Frames in a NumPy file, for a run whose own data set reads no such files or was trained on many sequences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stkit.data.arrays import ArrayClip, load_array
from stkit.data.clips import ClipRecord
from stkit.data.frames_config import ArraysConfig
from stkit.data.pipeline import Pipeline
from stkit.data.source import Variable
from stkit.errors import DataError

SUFFIXES = (".npy", ".npz")


def is_numpy(path: Path) -> bool:
    """Whether a file says by its name that it is NumPy's."""
    return path.suffix.lower() in SUFFIXES


def open_frames(path: Path, pipeline: Pipeline, variables: Sequence[Variable]) -> ClipRecord:
    """``T H W`` of one variable, ``T C H W`` of several, in the order and the units of the training.

    Raises:
        DataError: the model was trained on fields with times, or the array is none of these.
    """
    if pipeline.step is not None:
        raise DataError(
            f"{path}: the model was trained on fields with times, and an array has none: "
            "give a NetCDF file or a Zarr store"
        )
    array = load_array(path, None)
    names = ", ".join(variable.name for variable in variables)
    axes = {3: "THW", 4: "TCHW"}.get(array.ndim, "")
    if not axes or (array.shape[1] if axes == "TCHW" else 1) != len(variables):
        shape = " x ".join(map(str, array.shape))
        expected = f"frames x {len(variables)} x rows x columns"
        if len(variables) == 1:
            expected = f"frames x rows x columns, or {expected}"
        raise DataError(f"{path}: the array is {shape}; expected {expected}, of {names}")
    if array.dtype.kind != "f":
        units = ", ".join(dict.fromkeys(variable.units for variable in variables))
        raise DataError(
            f"{path}: holds {array.dtype}, and nothing says by how much a whole number is scaled; "
            f"save {names} as float32 in the units of the training ({units!r})"
        )
    return ClipRecord(ArrayClip(path, ArraysConfig(name="arrays", path=str(path), axes=axes)), variables)


def of_one_sequence(config: ArraysConfig, path: Path) -> ArraysConfig:
    """How the array of one sequence is read, where the training was on many.

    Raises:
        DataError: the file has many, too.
    """
    if config.axes is None or "N" not in config.axes:
        return config
    axes = config.axes.replace("N", "")
    array = load_array(path, config.key)
    if array.ndim == len(config.axes):
        shape = " x ".join(map(str, array.shape))
        raise DataError(
            f"{path}: the array is {shape}, many sequences ({config.axes}); a forecast starts from the frames of one: "
            f"save that alone ({axes})"
        )
    return config.model_copy(update={"axes": axes})
