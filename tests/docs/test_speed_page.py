"""What the page on engines shows runs, and its record keeps to what the page says."""

from __future__ import annotations

import json

from tests.docs.pages import DOCS, python_blocks

PAGE = DOCS / "guides" / "speed.md"


def test_the_python_runs() -> None:
    (block,) = python_blocks(PAGE)
    exec(compile("\n" * (block.line - 1) + block.body, str(PAGE), "exec"), {})  # the page's own code


def test_the_recorded_rounding_is_within_the_bound() -> None:
    rows = json.loads((DOCS / "records" / "engines.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) >= 6
    for row in rows:
        assert row["output_error"] <= 10, row
        assert row["gradient_error"] <= 20, row
