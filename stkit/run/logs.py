"""A run's ``log.txt``. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stkit.run.files import told_when_full

LOGGER = logging.getLogger("stkit")
ON_BAR = "stkit_on_bar"
"""Attribute of a log record that the live progress bar shows already, so that a terminal need not."""


class RunLog(logging.FileHandler):
    """Appends to the log; a full disk ends the run with its one message instead of a traceback a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        with told_when_full(Path(self.baseFilename)):
            self.stream = self.stream or self._open()
            self.stream.write(self.format(record) + self.terminator)
            self.flush()


def not_on_bar(record: logging.LogRecord) -> bool:
    """A filter for terminals."""
    return not getattr(record, ON_BAR, False)


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
    terminals = [*LOGGER.handlers, *logging.getLogger().handlers]
    for other in terminals:
        other.addFilter(not_on_bar)
    LOGGER.addHandler(handler)
    if LOGGER.getEffectiveLevel() > logging.INFO:
        for other in terminals:  # the file tells more than the terminal was asked to
            other.setLevel(max(other.level, LOGGER.getEffectiveLevel()))
        LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        handler.close()
        LOGGER.setLevel(before)
        for other in terminals:
            other.removeFilter(not_on_bar)
