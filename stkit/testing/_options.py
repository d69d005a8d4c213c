"""Which fields of a cell's configuration change something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import torch
from pydantic import ValidationError

from stkit.errors import StkitError
from stkit.plugin.config import CellConfig
from stkit.plugin.manager import plugins
from stkit.testing import _drive as drive
from stkit.testing.cell_under_test import CellUnderTest
from stkit.testing.rules import ContractViolation
from stkit.testing.strategies import Case

PROBES: tuple[Any, ...] = (None, True, False, 1, 2, 3, 4, 0.25, 2.5, [1, 3, 3], [3, 3, 3])
"""Values that are tried where the annotation lists none."""
CASE = Case(batch=2, steps=3, height=5, width=6, seed=11)


def inert_fields(contract: CellUnderTest) -> Iterator[str]:
    """Names of the fields for which no other value builds another cell or gives another output."""
    config = contract.cell_config()
    usual = _fingerprint(contract, config)
    for name, field in type(config).model_fields.items():
        if name == "name":
            continue
        values = contract.other_values.get(name, [*_listed(field.annotation), *PROBES, *_modules()])
        if not any(_differs(usual, contract, other) for other in _others(config, name, values)):
            yield name


def _others(config: CellConfig, field: str, values: Any) -> Iterator[CellConfig]:
    """The configuration with each of the values that it accepts and that is another one."""
    for value in values if isinstance(values, (list, tuple)) else [values]:
        try:
            other = type(config).model_validate({**config.model_dump(), field: value})
        except (ValidationError, StkitError):
            continue
        if getattr(other, field) != getattr(config, field):
            yield other


def _differs(usual: list[Any], contract: CellUnderTest, config: CellConfig) -> bool:
    try:
        other = _fingerprint(contract, config)
    except (ContractViolation, StkitError, ValueError, RuntimeError):
        return False  # this value does not go with the others, or with this site
    if len(usual) != len(other):
        return True
    return any(drive.changed({"": a}, {"": b}) for a, b in zip(usual, other, strict=True))


def _fingerprint(contract: CellUnderTest, config: CellConfig) -> list[Any]:
    """Names and values of the parameters before and after noise, the state's form, and what comes out."""
    changed = type(type(contract).__name__, (type(contract),), {"config": config, "exempt": {}})()
    plain, cell = (changed.build(CASE.grid, seed=seed) for seed in (None, CASE.seed))
    state, carry = changed.start(cell, CASE)
    with torch.no_grad():
        out = changed.unroll(cell, changed.inputs(cell, CASE), CASE).last
    return [dict(plain.named_parameters()), {**state, **carry}, {"y": out.y, **out.state, **out.carry}]


def _listed(annotation: Any) -> list[Any]:
    """The values of every Literal in an annotation."""
    found: list[Any] = []
    for part in get_args(annotation):
        found += [part] if isinstance(part, (str, int, float, bool)) else _listed(part)
    return found


def _modules() -> list[dict[str, str]]:
    return [{"name": spec.qualified_name} for spec in plugins().specs("modules")]
