"""Our code against the numbers of other implementations: outputs, states, losses and gradients in float64.

``STKIT_GOLDENS`` names another folder of such files; see ``goldens/README.md``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .adapters.registry import ADAPTERS, adapter_of
from .conftest import KEY
from .golden import TOLERANCE, Golden

SHIPPED = Path(__file__).parent / "goldens"
FOLDER = Path(os.environ.get("STKIT_GOLDENS") or SHIPPED)
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


def test_every_adapter_has_a_shipped_file() -> None:
    without = [
        prefix
        for prefix in ADAPTERS
        if not any(adapter_of(path.name) is ADAPTERS[prefix] for path in SHIPPED.glob("*.safetensors"))
    ]
    assert not without
