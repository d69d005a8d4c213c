"""What commands print: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 160


def json_option(function: Any) -> Any:
    """The option ``--json`` of every command that prints data; the parameter is ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)


def print_json(data: Any) -> None:
    """JSON on stdout."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def console() -> Console:
    """Where tables go: stdout, as wide as the terminal; wide enough for whole lines in a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table without lines; the last column wraps."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, title=title or None, title_justify="left", title_style="bold", header_style="dim", pad_edge=False
    )
    for place, name in enumerate(columns):
        table.add_column(name, no_wrap=place < len(columns) - 1, overflow="fold")
    for row in rows:
        # Text, because brackets in a name or a message are no markup.
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


class _Told(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class _ToStderr(logging.Handler):
    """Writes to what stderr is at the time, which a caller may have redirected since."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # as every handler of logging does: a message that cannot be shown ends no run
            self.handleError(record)


def set_up_logging(*, verbose: bool = False, quiet: bool = False) -> None:
    """Send stkit's log to stderr: warnings are marked, information is plain lines."""
    logger = logging.getLogger("stkit")
    if not any(isinstance(handler, _ToStderr) for handler in logger.handlers):
        handler = _ToStderr()
        handler.setFormatter(_Told("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
