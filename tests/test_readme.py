"""The table of faults names tests and rules that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from stkit.testing.rules import CELL_RULES, STACK_RULES

HERE = Path(__file__).parent
ROWS = [line for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines() if "::" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_fault_has_the_tests_that_the_table_names(row: str) -> None:
    named = re.findall(r"`([\w./-]+)::(\w+)`", row)
    assert named
    for path, test in named:
        module = ast.parse((HERE / path).read_text(encoding="utf-8"))
        assert test in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, f"{path}::{test}"
    _, _, rules = row.partition(" rule")
    assert all(rule in {*CELL_RULES, *STACK_RULES} for rule in re.findall(r"`([\w-]+)`", rules))


def test_there_are_as_many_as_are_known() -> None:
    assert len(ROWS) == 11
