"""Prints what was held against the reference values, at the end of the run."""

from __future__ import annotations

import pytest

ROWS: pytest.StashKey[list[tuple[str, int, float]]] = pytest.StashKey()


@pytest.fixture
def parity_rows(request: pytest.FixtureRequest) -> list[tuple[str, int, float]]:
    """Rows of the table: file, tensors compared, largest absolute error."""
    return request.config.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if rows:
        terminalreporter.section("parity with reference values")
        width = max(len(name) for name, _, _ in rows)
        terminalreporter.line(f"{'file':{width}}  tensors  largest error")
        for name, count, worst in sorted(rows):
            terminalreporter.line(f"{name:{width}}  {count:7d}  {worst:13.1e}")
