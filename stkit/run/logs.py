"""A run's ``log.txt``. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stkit.run.files import told_when_full

LOGGER = logging.getLogger("stkit")
FILE_ONLY = "stkit_file_only"
"""Attribute of a log record that the terminal shows in another way: a bar, a message."""


class RunLog(logging.FileHandler):
    """Appends to the log; a full disk ends the run with its one message instead of a traceback a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        with told_when_full(Path(self.baseFilename)):
            self.stream = self.stream or self._open()
            self.stream.write(self.format(record) + self.terminator)
            self.flush()


def for_terminals(record: logging.LogRecord) -> bool:
    """A filter for terminals."""
    return not getattr(record, FILE_ONLY, False)


@contextmanager
def logged_to(path: Path, *, is_main: bool) -> Iterator[None]:
    """Within it what stkit logs goes to ``path`` as well; all processes but the main one are silent up to errors."""
    before = LOGGER.level
    if not is_main:
        LOGGER.setLevel(logging.ERROR)
        try:
            yield
        finally:
            LOGGER.setLevel(before)
        return
    with told_when_full(path):
        handler = RunLog(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    asked = LOGGER.getEffectiveLevel()
    terminals = [(other, other.level) for other in (*LOGGER.handlers, *logging.getLogger().handlers)]
    for other, level in terminals:
        other.addFilter(for_terminals)
        other.setLevel(max(level, asked))  # the file may tell more than the terminal was asked to
    LOGGER.addHandler(handler)
    LOGGER.setLevel(min(asked, logging.INFO))
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        handler.close()
        LOGGER.setLevel(before)
        for other, level in terminals:
            other.removeFilter(for_terminals)
            other.setLevel(level)
