"""Our code against the numbers of other implementations: outputs, states, losses and gradients in float64.

``STKIT_GOLDENS`` names another folder of such files; see ``goldens/README.md``. Each engine is held to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from stkit.cells import Engine, Fused, Winograd, gated, gates, use_engine
from stkit.stacks import build

from .adapters.registry import ADAPTERS, adapter_of
from .conftest import KEY
from .golden import TOLERANCE, Golden
from .record import FOLDER, SHIPPED, record_of, row_of, rows_in

FILES = sorted(FOLDER.glob("*.safetensors"))


def test_the_folder_has_reference_values() -> None:
    assert FILES, f"no .safetensors file in {FOLDER}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parity(path: Path, record_property: Callable[[str, object], None]) -> None:
    adapter = adapter_of(path.name)
    if adapter is None:
        reason = f"{path.name}: the architecture is not implemented"
        if FOLDER == SHIPPED:
            pytest.fail(reason)
        pytest.skip(reason)
    golden = Golden.read(path)
    adapter(golden)
    name, worst = golden.worst
    record_property(KEY, (path.name, len(golden.errors), worst))
    assert worst <= TOLERANCE, f"{name} differs by {worst:.1e}"
    assert not golden.forgotten(), "results in the file that nothing was held against"
    if FOLDER == SHIPPED:
        (recorded,) = (row for row in rows_in(record_of(path.name)) if row["file"] == path.name)
        found = asdict(row_of(golden))
        # The last digits differ from machine to machine.
        assert {**found, "largest_error": None} == {**recorded, "largest_error": None}, "python -m tests.parity.record"


@pytest.mark.parametrize("engine", [Winograd, Fused])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parity_under_other_engines(path: Path, engine: type[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files and the same limit, in Winograd's domain where it has one, and with sources side by side."""
    adapter = adapter_of(path.name)
    if adapter is None:
        pytest.skip(f"{path.name}: the architecture is not implemented")
    monkeypatch.setattr(gates, "DIRECT", engine())  # of cells that are built alone
    monkeypatch.setattr(build, "set_engine", lambda module, _: use_engine(module, engine()))
    monkeypatch.setattr(gated, "SMALL", 0)
    golden = Golden.read(path)
    adapter(golden)
    name, worst = golden.worst
    assert worst <= TOLERANCE, f"{name} differs by {worst:.1e}"


def test_every_adapter_has_a_shipped_file() -> None:
    without = [
        prefix
        for prefix in ADAPTERS
        if not any(adapter_of(path.name) is ADAPTERS[prefix] for path in SHIPPED.glob("*.safetensors"))
    ]
    assert not without
