"""Every cell and every architecture that is installed, built in or third-party, meets the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping

from stkit.plugin.manager import plugins
from stkit.testing.contract import CellContract, StackContract

EXEMPT: dict[tuple[str, str | None], Mapping[str, str]] = {
    ("e3d_lstm/e3d_lstm", "official"): {
        "gradients": "the released code hands on the memory M that came in, which is zero for ever",
    },
}
"""Architecture and variant (None for a cell) -> rules it breaks on purpose, each with the reason."""


def _class_name(*parts: str) -> str:
    return "Test" + "".join(word.capitalize() for part in parts for word in re.split(r"\W+|_", part))


for _spec in plugins().specs("cells"):
    _name = _spec.qualified_name
    _class = _class_name("cell", _name)
    globals()[_class] = type(_class, (CellContract,), {"name": _name, "exempt": EXEMPT.get((_name, None), {})})

for _spec in plugins().specs("stacks"):
    for _variant in _spec.variants:
        _name = _spec.qualified_name
        _class = _class_name("stack", _name, _variant)
        _values = {"name": _name, "variant": _variant, "exempt": EXEMPT.get((_name, _variant), {})}
        globals()[_class] = type(_class, (StackContract,), _values)


def test_the_five_papers_are_under_contract_in_every_variant() -> None:
    cells = {spec.name for spec in plugins().specs("cells")}
    assert {"conv_lstm", "st_lstm", "causal_lstm", "ghu", "e3d_lstm", "frame_window"} <= cells
    variants = {spec.name: set(spec.variants) for spec in plugins().specs("stacks")}
    for name in ("predrnn", "predrnnpp", "mim", "e3d_lstm"):
        assert variants[name] >= {"standard", "official", "paper"}
    for name in ("convlstm", "mim_star"):  # nobody released their code
        assert variants[name] >= {"standard", "paper"}
    for name, kept in variants.items():
        for variant in kept:
            assert _class_name("stack", plugins().resolve("stacks", name).qualified_name, variant) in globals()


def test_no_exemption_is_left_over() -> None:
    stacks = {(spec.qualified_name, variant) for spec in plugins().specs("stacks") for variant in spec.variants}
    cells = {(spec.qualified_name, None) for spec in plugins().specs("cells")}
    assert set(EXEMPT) <= stacks | cells
