"""A NetCDF file that is written piece by piece and is there only when it is whole."""

from __future__ import annotations

import contextlib
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5netcdf  # type: ignore[import-untyped]

from stkit.errors import UsageError
from stkit.run.files import is_full, sync_directory, told_when_full


class WholeFile(ABC):
    """Writes to a temporary neighbour that takes the file's name when all is written.

    Used in a ``with`` statement: an error inside it leaves no file, and what was there before stays.

    Raises:
        DiskFull: so is the disk, at any of its calls.
        UsageError: nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        with told_when_full(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file: Any = self._open(self._temporary)
            except OSError as error:
                if is_full(error):
                    raise
                raise UsageError(f"{path}: cannot be written ({' '.join(str(error).split())})") from error
            try:
                self._define()
            except BaseException:
                self._discard()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            with told_when_full(self.path):
                self._close()
                self._take_name()
        except BaseException:
            self._discard()
            raise
        sync_directory(self.path.parent)

    @abstractmethod
    def _define(self) -> None:
        """Create dimensions, variables and attributes in ``self._file``."""

    def _open(self, path: Path) -> Any:
        return h5netcdf.File(path, "w")

    def _close(self) -> None:
        """Everything is written."""
        self._file.close()

    def _take_name(self) -> None:
        self._temporary.replace(self.path)

    def _remove(self) -> None:
        self._temporary.unlink(missing_ok=True)

    def _discard(self) -> None:
        with contextlib.suppress(Exception):
            self._close()
        with contextlib.suppress(OSError):
            self._remove()
