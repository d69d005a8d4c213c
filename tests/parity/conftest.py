"""Prints what was held against the reference values, at the end of the run."""

from __future__ import annotations

import pytest

KEY = "parity"
"""Property of a test's report: it reaches the terminal from other processes, too."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = sorted(
        tuple(value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for key, value in report.user_properties
        if key == KEY
    )
    if rows:
        terminalreporter.section("parity with reference values")
        width = max(len(name) for name, _, _ in rows)
        terminalreporter.line(f"{'file':{width}}  tensors  largest error")
        for name, count, worst in rows:
            terminalreporter.line(f"{name:{width}}  {count:7d}  {worst:13.1e}")
