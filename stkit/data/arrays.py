"""NumPy files as fields: the data set ``arrays``. Nothing is unpickled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from stkit.data import cf
from stkit.data.calendar import Times
from stkit.data.clips import Clip, ClipRecord, ClipSequences
from stkit.data.frames_config import ArraysConfig
from stkit.data.source import Fields, Variable, without_fill
from stkit.errors import DataError

_ORDER = "NTCHW"


class Arrays:
    """The data set ``arrays``."""

    @classmethod
    def from_config(cls, config: ArraysConfig) -> ClipRecord | ClipSequences:
        """A record in time; sequences where the axes have ``N``.

        Raises:
            DataError: if the file, the array or its axes are not as expected.
        """
        path = Path(os.path.expanduser(config.path))
        array = load_array(path, config.key)
        axes = config.axes or "THW"
        _check_axes(array, axes, path, given=config.axes is not None)
        channels = array.shape[axes.index("C")] if "C" in axes else 1
        names = config.variables or (("field",) if channels == 1 else tuple(f"field{i}" for i in range(channels)))
        if len(names) != channels:
            raise DataError(f"{path}: {channels} channels, but {len(names)} variables are named: {', '.join(names)}")
        variables = tuple(Variable(name, config.units) for name in names)
        if "N" in axes:
            if config.times is not None:
                raise DataError(f"{path}: 'times' belong to one record, but the axes {axes} are sequences")
            clips = [ArrayClip(path, config, number) for number in range(array.shape[axes.index("N")])]
            return ClipSequences(path.name, variables, clips)
        times = None if config.times is None else _times(path, config.times, array.shape[axes.index("T")])
        return ClipRecord(ArrayClip(path, config), variables, times=times)


class ArrayClip(Clip):
    """An array, or one sequence of it."""

    def __init__(self, path: Path, config: ArraysConfig, number: int | None = None) -> None:
        self.path, self.config, self.number = path, config, number
        self.name = path.name if number is None else f"{path.name}[{number}]"
        axes, shape = config.axes or "THW", load_array(path, config.key).shape
        size = dict(zip(axes, shape, strict=True))
        self.frames = size["T"]
        self.shape = size.get("C", 1), size["H"], size["W"]

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.clips.Clip.read`."""
        axes = self.config.axes or "THW"
        array = load_array(self.path, self.config.key)
        where = {"N": self.number, "T": slice(start, stop)}
        values = np.asarray(array[tuple(where.get(axis, slice(None)) for axis in axes)])
        left = [axis for axis in axes if axis != "N"]
        ordered = values.transpose([left.index(axis) for axis in _ORDER if axis in left])
        fields = ordered.reshape(stop - start, *self.shape).astype(np.float32)
        for missing in self.config.missing_values:
            fields[fields == np.float32(missing)] = np.nan
        return without_fill(fields, self.name) * np.float32(self.config.scale)


_LOADED: dict[tuple[Path, str | None, int], NDArray[np.generic]] = {}
"""The arrays of this process: a ``.npy`` file as a view of the disk, one of an ``.npz`` file in memory."""


def load_array(path: Path, key: str | None) -> NDArray[np.generic]:
    """An array of a file; the same one again where the file has not changed.

    Raises:
        DataError: if there is no such file or array, it is cut short, or it holds objects.
    """
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"no such file: {str(path)!r} (looked from {Path.cwd()}){cf.nearest(path.name, beside)}")
    found = (path, key, path.stat().st_mtime_ns)
    if found not in _LOADED:
        _LOADED[found] = _load(path, key)
    return _LOADED[found]


def _load(path: Path, key: str | None) -> NDArray[np.generic]:
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                file.seek(0)
                return _numbers(_of_archive(file, path, key), path)
        if key is not None:
            raise DataError(f"{path}: a .npy file has one array without a name: leave out 'key'")
        return _numbers(np.load(path, mmap_mode="r", allow_pickle=False), path)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{path}: holds pickled objects or is no NumPy file; objects are never unpickled: save plain numbers"
            ) from error
        raise DataError(f"{path}: cannot be read as a NumPy file; it may be cut short ({error})") from error


def _of_archive(file: BinaryIO, path: Path, key: str | None) -> NDArray[np.generic]:
    with np.load(file, allow_pickle=False) as archive:
        names = list(archive.files)
        if key is None and len(names) != 1:
            raise DataError(f"{path}: holds the arrays {', '.join(names)}: name one with 'key'")
        wanted = names[0] if key is None else key
        if wanted not in names:
            raise DataError(
                f"{path}: no array {wanted!r}; it has {', '.join(names) or 'none'}{cf.nearest(wanted, names)}"
            )
        array: NDArray[np.generic] = archive[wanted]
        return array


def _numbers(array: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    if array.dtype.kind not in "fiubM":
        raise DataError(f"{path}: holds {array.dtype}, not numbers")
    return array


def _check_axes(array: NDArray[np.generic], axes: str, path: Path, *, given: bool) -> None:
    shape = " x ".join(map(str, array.shape))
    if len(set(axes)) < len(axes) or not set("THW") <= set(axes):
        raise DataError(f"{path}: axes {axes!r}: T, H and W are needed, and no letter may come twice")
    if array.ndim != len(axes):
        said = f"the axes are said to be {axes}" if given else "its axes are not said, and THW would be three"
        raise DataError(f"{path}: the array is {shape}, but {said}: write axes, such as TNHW or NTCHW")


def _times(path: Path, name: str, steps: int) -> Times:
    times = load_array(path, name)
    if times.dtype.kind != "M" or times.shape != (steps,):
        raise DataError(
            f"{path}: times {name!r}: expected {steps} values of datetime64, got {times.dtype} {times.shape}"
        )
    return np.asarray(times, dtype="datetime64[ns]")
