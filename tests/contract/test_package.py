"""The package of the contract itself: its strategies, and what it needs and what needs it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from torch import Tensor

from stkit.testing import _extra, strategies
from stkit.testing.strategies import Case

ROOT = Path(__file__).parents[2]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_nothing_of_the_core_or_of_a_plugin_imports_it() -> None:
    files = [*ROOT.glob("stkit/**/*.py"), *ROOT.glob("plugins/*/stkit_*/**/*.py")]
    apart = {"testing", "template"}  # the template of a package has tests of its own
    outside = [path for path in files if not apart.intersection(path.relative_to(ROOT).parts)]
    assert len(outside) > 50
    assert [str(path) for path in outside if any(name.startswith("stkit.testing") for name in imported(path))] == []


def test_it_imports_no_torch_by_itself() -> None:
    script = "import sys, stkit.testing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_missing_extra_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "hypothesis" else find(name))
    with pytest.raises(ImportError, match=r"needs hypothesis.*pip install 'stkit-torch\[test\]'"):
        importlib.reload(_extra)


@given(case=strategies.cases())
def test_cases_are_small(case: Case) -> None:
    assert 1 <= case.batch <= 3
    assert 2 <= case.steps <= 4
    assert all(3 <= side <= 9 for side in case.grid)


@given(sequence=strategies.frames(channels=2, grid=(4, 5), dtype=torch.float64))
def test_frames_take_what_is_given(sequence: Tensor) -> None:
    assert sequence.shape[2:] == (2, 4, 5)
    assert sequence.dtype == torch.float64


@given(mask=strategies.masks())
def test_masks_have_a_valid_cell(mask: Tensor) -> None:
    assert mask.dtype == torch.bool
    assert mask.any()


@given(width=strategies.widths(12, multiple_of=4))
def test_widths_are_multiples(width: int) -> None:
    assert width in (4, 8, 12)


def test_numbers_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    a = strategies.tensor(7, 2, 3)
    torch.manual_seed(2)
    assert torch.equal(a, strategies.tensor(7, 2, 3))
    assert not torch.equal(a, strategies.tensor(8, 2, 3))
