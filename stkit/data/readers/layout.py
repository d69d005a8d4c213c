"""What the readers have in common: finding files, and saying where the data is had when they are not there."""

from __future__ import annotations

import glob
import inspect
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from stkit.data.calendar import Times
from stkit.data.pictures import by_number
from stkit.errors import DataError
from stkit.plugin.config import ComponentConfig
from stkit.plugin.field_docs import field_docs

_DIGITS = re.compile(r"(?<!\d)(\d{8})[-_T]?(\d{4}(?:\d{2})?)(?!\d)")


def had_from(config: ComponentConfig, field: str | None = None) -> str:
    """Where the data is had, as the configuration (or one of its fields) says."""
    about = inspect.getdoc(type(config)) if field is None else field_docs(type(config)).get(field)
    said = " ".join((about or "").split())
    return said[said.index("Had from") :] if "Had from" in said else said


def root_of(path: str, config: ComponentConfig) -> Path:
    """A folder or file that exists.

    Raises:
        DataError: if it does not, with where the data is had.
    """
    root = Path(os.path.expanduser(path))
    if not root.exists():
        raise DataError(f"{path}: there is nothing (looked from {Path.cwd()}). {had_from(config)}")
    return root


def files_of(path: str, suffixes: Sequence[str], config: ComponentConfig) -> list[Path]:
    """The files that a folder (with the folders inside it) or a pattern means, in the order of their names.

    Raises:
        DataError: if there is none, with where the data is had.
    """
    expanded = os.path.expanduser(path)
    if glob.has_magic(expanded):
        found = [Path(name) for name in glob.glob(expanded, recursive=True)]
    else:
        root = root_of(path, config)
        found = [root] if root.is_file() else [entry for entry in root.rglob("*") if entry.is_file()]
        found = [entry for entry in found if entry.name.endswith(tuple(suffixes))]
    if not found:
        raise DataError(f"{path}: no file that ends in {' or '.join(suffixes)}. {had_from(config)}")
    return sorted(found, key=lambda entry: by_number(Path(entry.name)))


def time_in_name(path: Path) -> np.datetime64:
    """The date and time that a name has: ``201008260000``, ``20190610-000000``.

    Raises:
        DataError: if it has none.
    """
    match = _DIGITS.search(path.name)
    if match is None:
        raise DataError(f"{path}: its name has no date and time, such as 201008260000")
    try:
        text = match[1] + match[2]
        return np.datetime64(datetime.strptime(text, "%Y%m%d%H%M%S" if len(text) == 14 else "%Y%m%d%H%M"), "ns")
    except ValueError:
        raise DataError(f"{path}: {match[0]} in its name is no date and time") from None


def times_in_names(paths: Sequence[Path]) -> Times:
    """Of each file."""
    return np.array([time_in_name(path) for path in paths], dtype="datetime64[ns]")


def open_hdf5(path: Path) -> Any:
    """An HDF5 file.

    Raises:
        DataError: if it is none, or cut short.
    """
    import h5py  # type: ignore[import-untyped]

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: cannot be read as HDF5; it may be cut short ({error})") from error


def text_of(value: Any) -> str:
    """An attribute of HDF5 as text."""
    value = np.ravel(value)[0]
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
