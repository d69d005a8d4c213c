"""Writing files so that a crash or a full disk never damages what was there. Imports no torch."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stkit.errors import RunFailed


class DiskFull(RunFailed):
    """There is no space left; what was saved before is intact, and the run can be resumed from it."""


_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """Turn "no space left" while writing ``path`` into one message.

    Raises:
        DiskFull: so is the disk, or the quota on it.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFull(f"no space left on the disk while writing {path}; what was saved before is intact") from error


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the quota on it, is full.

    Libraries that write by themselves (safetensors, HDF5) have the system's error in the text of their own only.
    """
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    return any(os.strerror(number) in str(error) for number in _NO_SPACE)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary neighbour, flushed to the disk, takes its name."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with told_when_full(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_synced(temporary, content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with open(path, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_text(path: Path, content: str) -> None:
    """:func:`write_bytes` in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """:func:`write_bytes` of indented JSON; keys keep their order."""
    write_text(path, as_json(content))


def as_json(content: Any) -> str:
    """Indented JSON with an end of line."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write."""
    with told_when_full(path), open(path, "a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def sync_directory(path: Path) -> None:
    """Make a rename inside ``path`` survive a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
